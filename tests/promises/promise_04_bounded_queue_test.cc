// Promise 4: the queue is bounded by default; overload is refused at once, with a retry hint.
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/options.h"
#include "server/service/status_mapping.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Promise04, TheQueueIsBoundedByDefault) {
  const auto command_line = ParseCommandLine({"--model", "m=/models/m"});
  ASSERT_TRUE(command_line.ok()) << command_line.status();
  EXPECT_GT(command_line->options.max_queued_requests, 0);
  EXPECT_LE(command_line->options.max_queued_requests, 10'000);
}

TEST(Promise04, OverloadIsRefusedAtOnceWithARetryHint) {
  // Its loop does not run: nobody has to wait for it to be refused.
  TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_cc")}, /*max_queued=*/2);
  engine.Submit(GreedyRequest({1}, 1));
  engine.Submit(GreedyRequest({1}, 1));
  const absl::Status refused =
      engine.TrySubmit(GreedyRequest({1}, 1), std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  const grpc::Status status = ToGrpcStatus(refused);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_details(), testing::HasSubstr("google.rpc.RetryInfo"));
}

}  // namespace
}  // namespace deltaserve
