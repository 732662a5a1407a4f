// Promise 5, as a caller sees it: client deadlines are honoured while running.
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "tests/promises/hanging_backend.h"
#include "tests/promises/served_engine.h"

namespace deltaserve {
namespace {

TEST(Promise05, TheCallerGetsWhatWasMadeInTimeAndTheStatus) {
  auto owned = std::make_unique<HangingBackend>();
  HangingBackend& backend = *owned;
  ServedEngine served(std::move(owned));
  constexpr std::chrono::hours kLimit(1);

  backend.HangAfter(2);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLimit);
  const auto reader = served.stub().GenerateStream(&context, GenerateCall(60));
  backend.AwaitHanging();
  // The deadline travels rounded up.
  served.engine().clock().Advance(2 * std::chrono::nanoseconds(kLimit).count());
  backend.Release();

  int64_t tokens = 0;
  for (v1::GenerateChunk chunk; reader->Read(&chunk);) {
    for (const v1::Sample& sample : chunk.samples()) tokens += sample.token_ids_size();
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GT(tokens, 0);
  EXPECT_LT(tokens, 60);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("deltaserve-usage-bin"), 1u);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "deadline_exceeded"), 1);
  EXPECT_EQ(served.Count("deltaserve_requests_total"), 1);
}

}  // namespace
}  // namespace deltaserve
