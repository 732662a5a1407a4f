#include "server/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/model/tensor_specs.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

ModelConfig TinyConfig(ResidualKind kind) {
  ModelConfig config;
  config.kind = kind;
  config.vocab_size = 11;
  config.hidden_size = 6;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.head_dim = 4;
  return config;
}

// The tensors of a configuration, all of the values 1, 2, 3, ...
std::vector<TensorToWrite> Tensors(const ModelConfig& config, DType dtype = DType::kF32) {
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    tensors.push_back(
        {tensor.name, tensor.shape, dtype, [next = 1.0f](absl::Span<float> values) mutable {
           for (float& value : values) value = next++;
         }});
  }
  return tensors;
}

class CheckpointTest : public testing::Test {
 protected:
  void WriteText(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
  }
  void Write(const ModelConfig& config, const std::vector<TensorToWrite>& tensors) {
    WriteText("config.json", ConfigJson(config));
    ASSERT_TRUE(WriteSafetensors(dir_ / "model.safetensors", tensors).ok());
  }
  std::string OpenError() {
    const absl::Status status = Checkpoint::Open(dir_.path()).status();
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }

  TempDir dir_;
};

TEST(GoldenCheckpointTest, EveryFixtureOpensAndReads) {
  for (const std::filesystem::path& dir : GoldenFixtureDirs()) {
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const std::string variant = dir.filename().string();
    EXPECT_EQ(Name(checkpoint->config().kind), variant.substr(0, variant.find('-')));
    EXPECT_EQ(checkpoint->stored_dtype(), DType::kF32);
    EXPECT_EQ(checkpoint->default_dtype(), DType::kF32);
    int64_t num_parameters = 0;
    for (const TensorSpec& tensor : ExpectedTensors(checkpoint->config())) {
      std::vector<float> values(tensor.shape.NumElements(), kNaN);
      ASSERT_TRUE(checkpoint->ReadF32(tensor.name, absl::MakeSpan(values)).ok());
      EXPECT_FALSE(std::any_of(values.begin(), values.end(), [](float x) { return x != x; }));
      num_parameters += tensor.shape.NumElements();
    }
    EXPECT_EQ(checkpoint->num_parameters(), num_parameters);
  }
}

TEST(GoldenCheckpointTest, KindIsToldByTheTensorsAlone) {
  for (const std::filesystem::path& fixture : GoldenFixtureDirs()) {
    TempDir dir;
    std::ifstream file(fixture / "config.json");
    json config = json::parse(file);
    const std::string variant = config.at("ddl_variant");
    config.erase("ddl_variant");
    std::ofstream(dir / "config.json") << config;
    std::filesystem::create_symlink(fixture / "model.safetensors", dir / "model.safetensors");
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(Name(checkpoint->config().kind), variant);
  }
}

TEST_F(CheckpointTest, EveryKindAndFlagOpens) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const ModelConfig config = RandomConfig(seed);
    ASSERT_TRUE(WriteRandomCheckpoint(dir_.path(), config, seed).ok());
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
    ASSERT_TRUE(checkpoint.ok()) << "seed " << seed << ": " << checkpoint.status();
    EXPECT_EQ(checkpoint->config(), config);
  }
}

TEST_F(CheckpointTest, ConvertsEveryStoredDtypeToEveryOther) {
  // Powers of two below 2^14, fp16's smallest subnormal, and a tie for bf16: 257 -> 256.
  const std::vector<float> written = {1, -2, 0.5f, 0x1p-24f, -0x1p-14f, 0, 8192, 257, 259, -1.5f};
  ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  for (DType stored : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<TensorToWrite> tensors = Tensors(config, stored);
    tensors[0].fill = [&](absl::Span<float> values) {
      for (size_t i = 0; i < values.size(); ++i) values[i] = written[i % written.size()];
    };
    Write(config, tensors);
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->stored_dtype(), stored);
    EXPECT_EQ(checkpoint->default_dtype(), stored == DType::kBF16 ? DType::kBF16 : DType::kF32);

    std::vector<float> f32(66);
    std::vector<uint16_t> bf16(66);
    ASSERT_TRUE(checkpoint->ReadF32(kEmbeddingName, absl::MakeSpan(f32)).ok());
    ASSERT_TRUE(checkpoint->ReadBF16(kEmbeddingName, absl::MakeSpan(bf16)).ok());
    for (size_t i = 0; i < f32.size(); ++i) {
      const float value = written[i % written.size()];
      const float rounded = FromBFloat16(ToBFloat16(value));
      EXPECT_EQ(f32[i], stored == DType::kBF16 ? rounded : value);
      EXPECT_EQ(FromBFloat16(bf16[i]), rounded);
    }
  }
}

TEST_F(CheckpointTest, LargeTensorsReadInPiecesFromManyThreads) {
  ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  config.vocab_size = 40000;
  ASSERT_TRUE(WriteRandomCheckpoint(dir_.path(), config, 3, DType::kBF16).ok());
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto read = [&](std::vector<float>& values) {
    values.assign(40000 * 6, kNaN);
    EXPECT_TRUE(checkpoint->ReadF32(kEmbeddingName, absl::MakeSpan(values)).ok());
  };
  std::vector<float> one, other;
  std::thread thread(read, std::ref(other));
  read(one);
  thread.join();
  EXPECT_EQ(one, other);
  std::vector<uint16_t> bits(one.size());
  ASSERT_TRUE(checkpoint->ReadBF16(kEmbeddingName, absl::MakeSpan(bits)).ok());
  EXPECT_TRUE(std::equal(one.begin(), one.end(), bits.begin(),
                         [](float a, uint16_t b) { return a == FromBFloat16(b); }));
}

TEST_F(CheckpointTest, NonFiniteWeightsAreNamed) {
  const ModelConfig config = TinyConfig(ResidualKind::kDdlTc);
  for (float bad : {kNaN, -std::numeric_limits<float>::infinity()}) {
    for (DType stored : {DType::kF32, DType::kF16, DType::kBF16}) {
      std::vector<TensorToWrite> tensors = Tensors(config, stored);
      tensors[0].fill = [=](absl::Span<float> values) {
        std::fill(values.begin(), values.end(), 1.0f);
        values[17] = bad;
        values[30] = bad;
      };
      Write(config, tensors);
      const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      std::vector<float> f32(66);
      std::vector<uint16_t> bf16(66);
      for (const absl::Status& status :
           {checkpoint->ReadF32(kEmbeddingName, absl::MakeSpan(f32)),
            checkpoint->ReadBF16(kEmbeddingName, absl::MakeSpan(bf16))}) {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
        EXPECT_THAT(std::string(status.message()),
                    AllOf(HasSubstr("\"transformer.wte.weight\" [11, 6]: element 17 is no finite"),
                          HasSubstr("model.safetensors")));
      }
    }
  }
}

TEST_F(CheckpointTest, WeightsTooLargeForTheirDtypeAreNamed) {
  const ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  std::vector<TensorToWrite> tensors = Tensors(config);
  tensors[0].fill = [](absl::Span<float> values) {
    std::fill(values.begin(), values.end(), std::numeric_limits<float>::max());
  };
  Write(config, tensors);
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<float> f32(66);
  EXPECT_TRUE(checkpoint->ReadF32(kEmbeddingName, absl::MakeSpan(f32)).ok());
  std::vector<uint16_t> bf16(66);
  const absl::Status status = checkpoint->ReadBF16(kEmbeddingName, absl::MakeSpan(bf16));
  EXPECT_THAT(std::string(status.message()), HasSubstr("element 0 is no finite number in bf16"));
}

TEST_F(CheckpointTest, WrongNamesAndSizesOfReads) {
  const ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  Write(config, Tensors(config));
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<float> values(65);
  EXPECT_EQ(checkpoint->ReadF32("nothing", absl::MakeSpan(values)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(checkpoint->ReadF32(kEmbeddingName, absl::MakeSpan(values)).code(),
            absl::StatusCode::kInternal);
}

TEST_F(CheckpointTest, FileTruncatedAfterOpenIsAnError) {
  const ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  Write(config, Tensors(config));
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::filesystem::path file = dir_ / "model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 4);
  std::vector<float> values(6);
  const absl::Status status = checkpoint->ReadF32("ln_f.weight", absl::MakeSpan(values));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"ln_f.weight\""));
}

TEST_F(CheckpointTest, MissingFiles) {
  EXPECT_THAT(OpenError(), HasSubstr((dir_ / "config.json").string()));
  WriteText("config.json", ConfigJson(TinyConfig(ResidualKind::kAdditive)));
  EXPECT_THAT(OpenError(), HasSubstr((dir_ / "model.safetensors").string()));
  std::filesystem::remove(dir_ / "config.json");
  std::filesystem::create_directory(dir_ / "config.json");
  EXPECT_THAT(OpenError(), HasSubstr("config.json: is not a regular file"));
}

TEST_F(CheckpointTest, BadConfigurationsAreNamedWithTheirFile) {
  const ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  Write(config, Tensors(config));
  WriteText("config.json", "{");
  EXPECT_THAT(OpenError(), HasSubstr("config.json: malformed JSON"));
  WriteText("config.json", std::string((1 << 20) + 1, ' '));
  EXPECT_THAT(OpenError(), HasSubstr("config.json: is larger than 1048576 bytes"));
}

TEST_F(CheckpointTest, MissingExtraAndMisshapenTensorsAreNamed) {
  const ModelConfig config = TinyConfig(ResidualKind::kDdlCcEc);
  std::vector<TensorToWrite> tensors = Tensors(config);
  const auto find = [&](const std::string& name) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [&](const TensorToWrite& tensor) { return tensor.name == name; });
  };
  find("transformer.h.1.attn.c_q.weight")->shape = {6, 8};
  find("transformer.h.0.ddl_mlp.beta.bias")->name = "transformer.h.0.ddl_mlp.beta.bais";
  Write(config, tensors);
  EXPECT_THAT(
      OpenError(),
      AllOf(HasSubstr("missing tensors: transformer.h.0.ddl_mlp.beta.bias"),
            HasSubstr("wrong shapes: transformer.h.1.attn.c_q.weight is [6, 8], not [8, 6]"),
            HasSubstr("unknown tensors: \"transformer.h.0.ddl_mlp.beta.bais\"")));
}

TEST_F(CheckpointTest, LongListsOfTensorsAreCutShort) {
  ModelConfig config = TinyConfig(ResidualKind::kAdditive);
  const std::vector<TensorToWrite> tensors = Tensors(config);
  config.num_hidden_layers = 3;
  Write(config, tensors);
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("transformer.h.2.ln_1.weight"), HasSubstr("6 more")));
}

TEST_F(CheckpointTest, ConfigurationThatContradictsTheTensors) {
  ModelConfig config = TinyConfig(ResidualKind::kDdlTcEc);
  const std::vector<TensorToWrite> tensors = Tensors(config);
  config.kind = ResidualKind::kDdlTc;
  Write(config, tensors);
  EXPECT_THAT(OpenError(),
              AllOf(HasSubstr("config.json"), HasSubstr("\"ddl_tc\""), HasSubstr("\"ddl_tc_ec\"")));
  config.kind = ResidualKind::kDdlTcEc;
  config.ddl_value_channels = 3;
  Write(config, tensors);
  EXPECT_THAT(OpenError(), HasSubstr("\"readout.read\" has length 4"));
}

TEST_F(CheckpointTest, HeadMustRepeatTheEmbedding) {
  const ModelConfig config = TinyConfig(ResidualKind::kDdlScalar);
  std::vector<TensorToWrite> tensors = Tensors(config);
  tensors.push_back(Tensors(config)[0]);
  tensors.back().name = "lm_head.weight";
  Write(config, tensors);
  EXPECT_TRUE(Checkpoint::Open(dir_.path()).ok());

  const auto refused = [&](const TensorToWrite& head) {
    std::vector<TensorToWrite> changed = Tensors(config);
    changed.push_back(head);
    changed.back().name = "lm_head.weight";
    Write(config, changed);
    EXPECT_THAT(OpenError(),
                HasSubstr("\"lm_head.weight\" differs from \"transformer.wte.weight\""));
  };
  TensorToWrite head = Tensors(config)[0];
  head.fill = [](absl::Span<float> values) { std::fill(values.begin(), values.end(), 1.0f); };
  refused(head);
  head = Tensors(config)[0];
  head.shape = {6, 11};
  refused(head);
  head = Tensors(config)[0];
  head.dtype = DType::kBF16;
  refused(head);
}

class ShardedCheckpointTest : public CheckpointTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteRandomCheckpoint(dir_.path(), config_, 5, DType::kF32, 3).ok());
    std::ifstream file(dir_ / kIndexName);
    index_ = json::parse(file);
  }
  void WriteIndex(const json& index) { WriteText(kIndexName, index.dump()); }

  static constexpr char kIndexName[] = "model.safetensors.index.json";
  const ModelConfig config_ = TinyConfig(ResidualKind::kDdlTcEc);
  json index_;
};

TEST_F(ShardedCheckpointTest, ReadsTheSameAsOneFile) {
  TempDir whole_dir;
  ASSERT_TRUE(WriteRandomCheckpoint(whole_dir.path(), config_, 5).ok());
  const absl::StatusOr<Checkpoint> whole = Checkpoint::Open(whole_dir.path());
  const absl::StatusOr<Checkpoint> sharded = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  for (const TensorSpec& tensor : ExpectedTensors(config_)) {
    std::vector<float> a(tensor.shape.NumElements()), b(a.size());
    ASSERT_TRUE(whole->ReadF32(tensor.name, absl::MakeSpan(a)).ok());
    ASSERT_TRUE(sharded->ReadF32(tensor.name, absl::MakeSpan(b)).ok());
    EXPECT_EQ(a, b) << tensor.name;
  }
}

TEST_F(ShardedCheckpointTest, IndexMustAgreeWithTheShards) {
  json index = index_;
  index["weight_map"]["ln_f.weight"] = "model-00001-of-00003.safetensors";
  WriteIndex(index);
  EXPECT_THAT(OpenError(), AllOf(HasSubstr(kIndexName), HasSubstr("\"ln_f.weight\" is not in")));

  index = index_;
  index["weight_map"].erase("ln_f.weight");
  WriteIndex(index);
  EXPECT_THAT(OpenError(), HasSubstr("\"ln_f.weight\" of \"model-00003-of-00003.safetensors\" is "
                                     "missing from the weight_map"));

  index = index_;
  index["weight_map"]["more"] = "model-00001-of-00003.safetensors";
  WriteIndex(index);
  EXPECT_THAT(OpenError(), HasSubstr("\"more\" is not in"));

  index = index_;
  index["weight_map"]["ln_f.weight"] = "model-00004-of-00003.safetensors";
  WriteIndex(index);
  EXPECT_THAT(OpenError(), HasSubstr("model-00004-of-00003.safetensors: cannot be opened"));
}

TEST_F(ShardedCheckpointTest, ShardNamesMustBePlain) {
  for (const json& name : {json("../model.safetensors"), json("/etc/passwd"), json(".."), json(""),
                           json("a/b"), json(3), json(nullptr)}) {
    json index = index_;
    index["weight_map"]["ln_f.weight"] = name;
    WriteIndex(index);
    EXPECT_THAT(OpenError(), HasSubstr("which is not a plain file name"));
  }
}

TEST_F(ShardedCheckpointTest, MalformedIndex) {
  WriteText(kIndexName, "{");
  EXPECT_THAT(OpenError(), AllOf(HasSubstr(kIndexName), HasSubstr("malformed JSON")));
  for (const char* text : {"[]", "{}", "{\"weight_map\": []}"}) {
    WriteText(kIndexName, text);
    EXPECT_THAT(OpenError(), HasSubstr("has no \"weight_map\" object"));
  }
}

TEST_F(ShardedCheckpointTest, TensorInTwoShards) {
  const std::vector<TensorToWrite> tensors = Tensors(config_);
  ASSERT_TRUE(WriteSafetensors(dir_ / "model-00002-of-00003.safetensors", {tensors[0]}).ok());
  EXPECT_THAT(OpenError(), HasSubstr("\"transformer.wte.weight\" is in "
                                     "\"model-00001-of-00003.safetensors\" too"));
}

TEST_F(ShardedCheckpointTest, SingleFileBesideTheIndexIsAmbiguous) {
  ASSERT_TRUE(WriteRandomCheckpoint(dir_.path(), config_, 5).ok());
  EXPECT_THAT(OpenError(), HasSubstr("there is also a model.safetensors"));
  json index = index_;
  for (json& shard : index["weight_map"]) shard = "model.safetensors";
  WriteIndex(index);
  EXPECT_TRUE(Checkpoint::Open(dir_.path()).ok());
}

TEST(ExpectedTensorsTest, FollowTheFlags) {
  const auto names = [](const ModelConfig& config) {
    std::vector<std::string> names;
    for (const TensorSpec& tensor : ExpectedTensors(config)) names.push_back(tensor.name);
    return names;
  };
  using testing::Contains;
  using testing::Not;
  ModelConfig config = TinyConfig(ResidualKind::kDdlTc);
  config.use_qk_rmsnorm = false;
  config.use_output_gate = true;
  config.ddl_beta_single_linear = false;
  const std::string attn = "transformer.h.0.attn.";
  EXPECT_THAT(names(config), Contains(attn + "o_norm.weight"));
  EXPECT_THAT(names(config), Contains(attn + "g_proj.weight"));
  EXPECT_THAT(names(config), Not(Contains(attn + "q_rms.weight")));
  EXPECT_THAT(names(config), Contains("transformer.h.1.ddl_mlp.beta_out.bias"));
  EXPECT_THAT(names(config), Not(Contains("transformer.h.1.ddl_mlp.beta.bias")));
  config.using_groupnorm = true;
  EXPECT_THAT(names(config), Contains(attn + "subln.weight"));
  EXPECT_THAT(names(config), Not(Contains(attn + "o_norm.weight")));
}

}  // namespace
}  // namespace deltaserve
