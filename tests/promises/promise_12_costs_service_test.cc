// Promise 12, as callers and operators see it: what answers and trailing metadata say adds up to
// what the device spent.
#include <grpcpp/client_context.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/promises/served_engine.h"
#include "tests/support/failing_backend.h"

namespace deltaserve {
namespace {

constexpr SteadyNs kStepNs = 1'000'003;

int64_t Nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

// Its phases add up to its total. Returns that.
int64_t CheckedDeviceNs(const v1::Usage& usage) {
  int64_t sum = 0;
  double cost = 0;
  for (const v1::PhaseUsage* phase : {&usage.prefill(), &usage.decode(), &usage.score()}) {
    sum += Nanoseconds(phase->device_seconds());
    cost += phase->cost_usd();
  }
  EXPECT_EQ(Nanoseconds(usage.device_seconds()), sum);
  EXPECT_NEAR(usage.cost_usd(), cost, 1e-15);
  // A dollar an hour.
  EXPECT_NEAR(usage.cost_usd(), usage.device_seconds() / 3600, 3e-12);
  EXPECT_FALSE(usage.has_energy_joules());
  return sum;
}

v1::Usage TrailingUsage(const grpc::ClientContext& context) {
  v1::Usage usage;
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("deltaserve-usage-bin");
  if (found == metadata.end()) {
    ADD_FAILURE() << "no usage";
  } else {
    EXPECT_TRUE(usage.ParseFromString({found->second.data(), found->second.size()}));
  }
  return usage;
}

TEST(Promise12, AnswersAndMetadataAddUpToTheDevicesTime) {
  auto owned = std::make_unique<FailingBackend>();
  FailingBackend& backend = *owned;
  LaneOptions tight = GoldenLane("ddl_cc");
  tight.kv_cache_tokens = 64;
  ServedEngine served(std::move(owned), /*max_queued=*/100, {tight, GoldenLane("additive")},
                      kStepNs);
  int64_t shown_ns = 0;

  // More than the cache holds at once, one of them cancelled.
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>> reader;
  };
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(std::make_unique<Call>());
    v1::GenerateRequest request = GenerateCall(40);
    request.set_model("ddl_cc");
    calls.back()->reader = served.stub().GenerateStream(&calls.back()->context, request);
  }
  int cancelled = 0;
  for (const auto& call : calls) {
    v1::GenerateChunk chunk;
    bool has_usage = false;
    while (call->reader->Read(&chunk)) {
      if (call == calls[0]) call->context.TryCancel();
      if (chunk.has_usage()) {
        has_usage = true;
        if (call != calls[0]) shown_ns += CheckedDeviceNs(chunk.usage());
      }
    }
    const grpc::Status status = call->reader->Finish();
    cancelled += status.error_code() == grpc::StatusCode::CANCELLED;
    if (call == calls[0]) continue;
    EXPECT_TRUE(status.ok() && has_usage) << status.error_message();
  }
  EXPECT_EQ(cancelled, 1);
  EXPECT_GT(served.engine().observer().num_preemptions(), 0);

  {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    request.set_model("additive");
    for (const int32_t id : {1, 2, 3}) request.mutable_token_ids()->add_ids(id);
    v1::ScoreResponse response;
    ASSERT_TRUE(served.stub().Score(&context, request, &response).ok());
    EXPECT_GT(response.usage().score().device_seconds(), 0);
    EXPECT_EQ(response.usage().prefill().device_seconds(), 0);
    shown_ns += CheckedDeviceNs(response.usage());
  }
  {
    backend.FailAfter(7);
    grpc::ClientContext context;
    v1::GenerateRequest request = GenerateCall(40);
    request.set_model("additive");
    v1::GenerateResponse response;
    EXPECT_EQ(served.stub().Generate(&context, request, &response).error_code(),
              grpc::StatusCode::UNAVAILABLE);
    const v1::Usage usage = TrailingUsage(context);
    EXPECT_GT(usage.decode().device_seconds(), 0);
    shown_ns += CheckedDeviceNs(usage);
  }

  served.server().Shutdown(absl::InfiniteDuration());
  const DeviceAccount account = served.Account();
  EXPECT_EQ(account.running_ns, 0);
  EXPECT_EQ(served.finished_device_ns(), account.AttributedNs());
  EXPECT_EQ(account.AttributedNs() + account.overhead.device_ns + account.idle.device_ns,
            served.engine().clock().Now() - ManualClock::kStart);
  EXPECT_EQ(account.AttributedNs() % kStepNs, 0);
  // The cancelled call's is the rest.
  EXPECT_GT(account.AttributedNs(), shown_ns);
}

}  // namespace
}  // namespace deltaserve
