#include "server/served_models.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/service/test_server.h"

namespace deltaserve {
namespace {

Options TwoModels() {
  Options options;
  options.models = {{.name = "text", .path = "/a"}, {.name = "ids", .path = "/b"}};
  options.dtype = "auto";
  options.max_sequences = 3;
  return options;
}

std::vector<ServedModel> TextAndIds() {
  std::vector<ServedModel> models(2);
  models[0].tokenizer = ByteTokenizer();
  return models;
}

TEST(ServedModelsTest, LanesEndWhereTheTokenizerSaysSo) {
  const auto lanes = LaneOptionsFor(TwoModels(), TextAndIds());
  ASSERT_EQ(lanes.size(), 2u);
  EXPECT_EQ(lanes[0].name, "text");
  EXPECT_EQ(lanes[0].model_dir, "/a");
  EXPECT_EQ(lanes[0].default_eos_token_id, kEndOfTextId);
  EXPECT_EQ(lanes[1].name, "ids");
  EXPECT_EQ(lanes[1].default_eos_token_id, std::nullopt);
  for (const LaneOptions& lane : lanes) EXPECT_EQ(lane.max_sequences, 3);
}

TEST(ServedModelsTest, LanesHaveTheDtypeAskedFor) {
  Options options = TwoModels();
  EXPECT_EQ(LaneOptionsFor(options, TextAndIds())[0].dtype, std::nullopt);
  options.dtype = "bf16";
  EXPECT_EQ(LaneOptionsFor(options, TextAndIds())[0].dtype, DType::kBF16);
  options.dtype = "fp32";
  EXPECT_EQ(LaneOptionsFor(options, TextAndIds())[1].dtype, DType::kF32);
}

TEST(ServedModelsTest, RegistersWhatFits) {
  FakeQueue queue;
  std::vector<ServedModel> models = {
      {.info = TinyModel(), .tokenizer = ByteTokenizer(), .queue = nullptr}};
  Options options;
  const auto registry = RegisterModels(options, models, queue);
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ(registry->models()[0].queue, &queue);
  EXPECT_EQ(registry->models()[0].info.usd_per_device_hour, std::nullopt);

  options.nanodollars_per_device_hour = 2'500'000'000;
  EXPECT_EQ(RegisterModels(options, models, queue)->models()[0].info.usd_per_device_hour, 2.5);

  models[0].info.vocab_size = kVocabSize - 1;
  EXPECT_EQ(RegisterModels(options, models, queue).status(),
            absl::InvalidArgumentError("model tiny: the tokenizer has 260 tokens, more than the "
                                       "model's vocab_size, 259"));
}

}  // namespace
}  // namespace deltaserve
