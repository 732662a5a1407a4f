// A device with memory of its own, that wants steps to recur: the numbers stay, and all memory is
// taken at the start.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/engine/lane_loader.h"
#include "tests/support/device_like_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

constexpr int64_t kMemoryBytes = 64 << 20;

LaneOptions Lane(const std::string& fixture) {
  LaneOptions lane = GoldenLane(fixture);
  lane.kv_cache_tokens = 0;
  return lane;
}

GenerateRequest Request(uint64_t seed) {
  std::vector<int32_t> prompt;
  for (uint64_t i = 0; i <= 7 * seed % 23; ++i) prompt.push_back((31 * i + seed) % 200);
  GenerateRequest request = SampledRequest(std::move(prompt), 12, seed);
  request.n = static_cast<int32_t>(1 + seed % 3);
  if (seed % 2 == 0) request.logprobs = 2;
  if (seed % 4 == 0) request.sampling.frequency_penalty = 1;
  return request;
}

class DeviceTraits : public testing::TestWithParam<const char*> {};

TEST_P(DeviceTraits, PaddingChangesNoNumber) {
  auto owned = std::make_unique<DeviceLikeBackend>(kMemoryBytes);
  const DeviceLikeBackend& backend = *owned;
  TestEngine padded(std::move(owned), {Lane(GetParam())});
  TestEngine plain(MakeReferenceBackend(), {GoldenLane(GetParam())});
  for (TestEngine* engine : {&padded, &plain}) engine->observer().set_wants_gates(true);

  ScoreRequest score = SequenceRequest({});
  for (int32_t i = 0; i < 29; ++i) score.context.push_back(13 * i % 200);
  score.top_k = 2;
  score.trace = std::string(GetParam()) != "additive";
  const auto scored = padded.Submit(score);
  const auto expected_score = plain.Submit(score);
  std::vector<std::shared_ptr<RecordingSink>> sinks, expected;
  for (uint64_t seed = 0; seed < 11; ++seed) {
    sinks.push_back(padded.Submit(Request(seed)));
    expected.push_back(plain.Submit(Request(seed)));
  }
  padded.Finish();
  plain.Finish();

  for (uint64_t seed = 0; seed < 11; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_TRUE(sinks[seed]->status().ok()) << sinks[seed]->status();
    for (int32_t n = 0; n < Request(seed).n; ++n) {
      EXPECT_EQ(sinks[seed]->sample(n).ids(), expected[seed]->sample(n).ids());
      EXPECT_EQ(sinks[seed]->sample(n).logprobs(), expected[seed]->sample(n).logprobs());
    }
  }
  EXPECT_EQ(scored->score().sequence.logprobs, expected_score->score().sequence.logprobs);
  EXPECT_EQ(scored->score().sequence.is_greedy, expected_score->score().sequence.is_greedy);
  EXPECT_EQ(scored->score().trace.proj, expected_score->score().trace.proj);
  EXPECT_EQ(scored->score().trace.v, expected_score->score().trace.v);
  const auto steps = padded.observer().steps();
  const auto expected_steps = plain.observer().steps();
  ASSERT_EQ(steps.size(), expected_steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].work, expected_steps[i].work);
    EXPECT_EQ(steps[i].beta, expected_steps[i].beta);
  }
  EXPECT_EQ(backend.has_padding(), std::string(GetParam()).ends_with("-odd"));
  EXPECT_TRUE(backend.padding_is_zero());
}

INSTANTIATE_TEST_SUITE_P(Kinds, DeviceTraits,
                         testing::Values("additive", "ddl_scalar", "ddl_cc_ec-odd", "ddl_tc_ec",
                                         "ddl_tc-odd"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The cache takes what weights and workspace leave, and no step needs more.
TEST(DeviceMemory, IsTakenAtTheStart) {
  auto owned = std::make_unique<DeviceLikeBackend>(kMemoryBytes);
  const DeviceLikeBackend& backend = *owned;
  LaneOptions lane = Lane("ddl_tc_ec");
  lane.max_sequences = 256;
  lane.max_batch_tokens = 300;
  TestEngine engine(std::move(owned), {lane});
  const int64_t at_start = backend.num_allocations();

  const int64_t longest = engine.info().max_sequence_tokens;
  EXPECT_EQ(longest, engine.info().context_length);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (uint64_t seed = 0; seed < 18; ++seed) {
    GenerateRequest request = SampledRequest({1, 2, 3}, 5 + seed % 8, seed);
    request.n = 16;
    request.logprobs = 20;
    request.sampling.repetition_penalty = 1.5f;
    for (int32_t id = 0; id < 400; ++id) request.sampling.logit_bias.push_back({id, 0.5f});
    sinks.push_back(engine.Submit(request));
    if (seed % 6 != 5) continue;
    ScoreRequest score = SequenceRequest(std::vector<int32_t>(longest, 5));
    score.trace = true;
    score.top_k = 20;
    sinks.push_back(engine.Submit(score));
  }
  engine.Finish();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->status().ok()) << sink->status();
  EXPECT_EQ(backend.num_allocations(), at_start);

  // The largest steps that there can be were among them.
  size_t sequences = 0;
  int64_t tokens = 0, logit_rows = 0;
  for (const auto& step : engine.observer().steps()) {
    int64_t step_tokens = 0, step_logit_rows = 0;
    for (const SequenceWork& work : step.work) {
      step_tokens += work.tokens;
      step_logit_rows += work.logit_rows;
    }
    sequences = std::max(sequences, step.work.size());
    tokens = std::max(tokens, step_tokens);
    logit_rows = std::max(logit_rows, step_logit_rows);
  }
  EXPECT_GT(sequences, 240u);  // a request that waits to fork holds a slot, too
  EXPECT_EQ(tokens, lane.max_batch_tokens);
  EXPECT_EQ(logit_rows, lane.max_batch_tokens);
}

TEST(DeviceMemory, IsAllUsedWhereTheCacheCanUseIt) {
  LaneOptions lane = Lane("ddl_cc");
  lane.max_sequences = 1 << 10;
  lane.max_batch_tokens = 1 << 10;
  DeviceLikeBackend backend(256 << 20);
  const auto loaded = ModelLane::Load(backend, lane);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const int64_t page_bytes =
      (*loaded)->cache_bytes() / ((*loaded)->cache_tokens() / backend.page_tokens() + 1);
  EXPECT_LT(backend.memory()->free, 2 * page_bytes);
  // More than all sequences at their longest could use is left alone.
  lane.max_sequences = 2;
  DeviceLikeBackend roomy(256 << 20);
  const auto small = ModelLane::Load(roomy, lane);
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ((*small)->cache_tokens(), 2 * (*small)->info().context_length);
  EXPECT_GT(roomy.memory()->free, 100 << 20);
}

TEST(DeviceMemory, IsSharedByModels) {
  DeviceLikeBackend backend(kMemoryBytes);
  std::vector<std::unique_ptr<LaneLoader>> loaders;
  for (const char* fixture : {"ddl_cc", "additive"}) {
    auto loader = LaneLoader::Load(backend, Lane(fixture));
    ASSERT_TRUE(loader.ok()) << loader.status();
    loaders.push_back(*std::move(loader));
  }
  auto lanes = FinishLanes(backend, std::move(loaders));
  ASSERT_TRUE(lanes.ok()) << lanes.status();
  ASSERT_EQ(lanes->size(), 2u);
  EXPECT_EQ((*lanes)[1]->info().name, "additive");
}

TEST(DeviceMemory, TooLittleOfItIsSaidAtTheStart) {
  DeviceLikeBackend none(1 << 10);
  EXPECT_EQ(ModelLane::Load(none, Lane("ddl_cc")).status().code(),
            absl::StatusCode::kResourceExhausted);
  // Enough for weights and workspace, and then a little.
  DeviceLikeBackend measured(kMemoryBytes);
  const auto loader = LaneLoader::Load(measured, Lane("ddl_cc"));
  ASSERT_TRUE(loader.ok());
  const absl::Status status = (*loader)->Finish(1 << 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1024 bytes are left for the cache"));
}

TEST(DeviceMemory, BoundsWhatARequestMayEdit) {
  TestEngine engine(std::make_unique<DeviceLikeBackend>(kMemoryBytes), {Lane("ddl_cc")});
  GenerateRequest request = GreedyRequest({1}, 1);
  request.sampling.logit_bias.resize(1025);
  const absl::Status status = engine.TrySubmit(request, std::make_shared<RecordingSink>());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("logit_bias has 1025 entries"));
}

}  // namespace
}  // namespace deltaserve
