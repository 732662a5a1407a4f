// Promise 9: the sum of requests by outcome is the requests received. Nothing vanishes from the
// metrics, cancelled requests included.
#include <grpcpp/client_context.h>

#include <memory>

#include "gtest/gtest.h"
#include "tests/promises/hanging_backend.h"
#include "tests/promises/served_engine.h"

namespace deltaserve {
namespace {

TEST(Promise09, OutcomesAddUpToTheRequests) {
  auto owned = std::make_unique<HangingBackend>();
  HangingBackend& backend = *owned;
  ServedEngine served(std::move(owned), /*max_queued=*/1);
  const auto generate = [&served](const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    return served.stub().Generate(&context, request, &response).error_code();
  };

  for (int i = 0; i < 3; ++i) EXPECT_EQ(generate(GenerateCall(4)), grpc::StatusCode::OK);
  EXPECT_EQ(generate(GenerateCall(0)), grpc::StatusCode::INVALID_ARGUMENT);
  v1::GenerateRequest elsewhere = GenerateCall(1);
  elsewhere.set_model("nobody");
  EXPECT_EQ(generate(elsewhere), grpc::StatusCode::NOT_FOUND);
  {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    for (const int32_t id : {1, 2, 3}) request.mutable_token_ids()->add_ids(id);
    v1::ScoreResponse response;
    EXPECT_TRUE(served.stub().Score(&context, request, &response).ok());
  }
  EXPECT_TRUE(served.engine().loop().WaitUntilIdle(absl::InfiniteDuration()));

  // While a step hangs: one call runs, one waits, the next is refused. Then the one that runs is
  // cancelled.
  backend.HangAfter(1);
  grpc::ClientContext running_context, waiting_context;
  const auto running = served.stub().GenerateStream(&running_context, GenerateCall(100));
  backend.AwaitHanging();
  const auto waiting = served.stub().GenerateStream(&waiting_context, GenerateCall(100));
  served.queue().AwaitSubmitted(6);
  EXPECT_EQ(generate(GenerateCall(1)), grpc::StatusCode::RESOURCE_EXHAUSTED);
  running_context.TryCancel();
  served.queue().AwaitCancel();
  backend.Release();
  v1::GenerateChunk chunk;
  while (running->Read(&chunk)) {
  }
  EXPECT_EQ(running->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (waiting->Read(&chunk)) {
  }
  EXPECT_TRUE(waiting->Finish().ok());

  served.server().Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(served.Count("deltaserve_requests_received_total"), 9);
  EXPECT_EQ(served.Count("deltaserve_requests_total"), 9);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "ok"), 5);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "invalid_argument"), 1);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "not_found"), 1);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "resource_exhausted"), 1);
  EXPECT_EQ(served.Count("deltaserve_requests_total", "cancelled"), 1);
  EXPECT_TRUE(served.engine().loop().WaitUntilIdle(absl::InfiniteDuration()));
  EXPECT_TRUE(served.engine().everything_free());
}

}  // namespace
}  // namespace deltaserve
