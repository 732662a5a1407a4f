// Whatever comes, from however many threads: every accepted request has one end.
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/random_source.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

std::vector<int32_t> RandomTokens(RandomSource& random, int64_t most) {
  std::vector<int32_t> tokens(random.Integer(1, most));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Integer(0, 498));
  return tokens;
}

GenerateRequest RandomGenerate(RandomSource& random, RequestId id) {
  GenerateRequest request =
      SampledRequest(RandomTokens(random, 50), random.Integer(1, 12), random.Bits());
  request.id = id;
  request.n = random.Chance(0.3f) ? static_cast<int32_t>(random.Integer(2, 4)) : 1;
  if (random.Chance(0.3f)) request.logprobs = static_cast<int32_t>(random.Integer(0, 20));
  if (random.Chance(0.2f)) request.stop_token_ids = RandomTokens(random, 16);
  if (random.Chance(0.2f)) request.sampling.frequency_penalty = 1;
  return request;
}

ScoreRequest RandomScore(RandomSource& random, RequestId id) {
  ScoreRequest request;
  request.id = id;
  request.context = RandomTokens(random, 40);
  for (int64_t left = random.Integer(0, 6); left > 0; --left) {
    request.continuations.push_back(RandomTokens(random, 12));
  }
  request.trace = request.continuations.empty() && random.Chance(0.5f);
  request.top_k = static_cast<int32_t>(random.Integer(0, 3));
  return request;
}

// One client: submits, cancels, stops, is late.
void RunClient(TestEngine& engine, uint64_t seed,
               std::vector<std::shared_ptr<RecordingSink>>& sinks) {
  RandomSource random(seed);
  const char* const models[] = {"ddl_tc_ec", "ddl_cc"};
  for (RequestId i = 0; i < 25; ++i) {
    const RequestId id = 1000 * seed + i;
    const auto sink = std::make_shared<RecordingSink>(
        [&engine, id, stop = random.Chance(0.2f), cancel = random.Chance(0.1f)](
            int32_t sample, int64_t num_tokens) {
          engine.clock().Advance(1);
          if (stop && num_tokens == 3) engine.loop().StopSample(id, sample);
          if (cancel && num_tokens == 2) engine.loop().Cancel(id);
        });
    const auto submit = [&](auto request) {
      request.model = models[random.Integer(0, 1)];
      if (random.Chance(0.2f)) {
        request.deadline = engine.clock().Now() + random.Integer(0, 200);
      }
      return engine.TrySubmit(std::move(request), sink);
    };
    const absl::Status status =
        random.Chance(0.6f) ? submit(RandomGenerate(random, id)) : submit(RandomScore(random, id));
    if (status.ok()) {
      sinks.push_back(sink);
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    }
    if (random.Chance(0.15f)) engine.loop().Cancel(1000 * seed + random.Integer(0, i));
  }
}

TEST(Workload, EveryRequestEndsOnce) {
  std::vector<LaneOptions> lanes = {GoldenLane("ddl_tc_ec"), GoldenLane("ddl_cc")};
  for (LaneOptions& lane : lanes) {
    lane.kv_cache_tokens = 112;
    lane.max_batch_tokens = 24;
  }
  TestEngine engine(MakeReferenceBackend(), lanes, /*max_queued=*/30);
  constexpr int kClients = 4;
  std::vector<std::shared_ptr<RecordingSink>> sinks[kClients];
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back(
        [&engine, client, &own = sinks[client]] { RunClient(engine, client + 1, own); });
    if (client == 0) engine.loop().Start();
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(engine.loop().WaitUntilIdle(absl::InfiniteDuration()));
  for (const auto& own : sinks) {
    for (const auto& sink : own) {
      EXPECT_TRUE(sink->done());
      EXPECT_EQ(sink->violation(), "");
      const absl::StatusCode code = sink->status().code();
      EXPECT_TRUE(code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled ||
                  code == absl::StatusCode::kDeadlineExceeded)
          << sink->status();
    }
  }
  EXPECT_TRUE(engine.everything_free());
  for (const RecordingStepObserver::Step& step : engine.observer().steps()) {
    EXPECT_LE(step.stats.prefill_tokens + step.stats.decode_tokens, 24);
  }
}

}  // namespace
}  // namespace deltaserve
