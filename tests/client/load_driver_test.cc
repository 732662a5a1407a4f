#include "tests/support/load/load_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/client/fake_server.h"

namespace deltaserve {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LoadOptions OptionsFor(FakeServer& server) {
  LoadOptions options;
  options.address = server.address();
  options.num_calls = 40;
  options.vocab_size = 50;
  options.max_new_tokens = 8;
  return options;
}

// Keeps every promise.
void AnswerWell(FakeInferenceService& service) {
  service.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest& request,
                               grpc::ServerWriter<v1::GenerateChunk>& writer) {
    for (int i = 0; i < request.max_tokens(); ++i) {
      const bool is_last = i + 1 == request.max_tokens();
      v1::GenerateChunk chunk;
      if (i == 0) chunk.set_request_id("r");
      chunk.add_samples()->add_token_ids(i);
      if (is_last) {
        chunk.mutable_samples(0)->set_finish_reason(v1::LENGTH);
        chunk.mutable_usage()->set_prompt_tokens(request.token_ids().ids_size());
        chunk.mutable_usage()->set_completion_tokens(request.max_tokens());
      }
      if (context.IsCancelled()) return grpc::Status::CANCELLED;
      writer.Write(chunk);
    }
    return grpc::Status::OK;
  };
  service.score = [](grpc::ServerContext&, const v1::ScoreRequest& request,
                     v1::ScoreResponse& response) {
    for (const auto& continuation : request.continuations()) {
      v1::ScoredTokens& scores = *response.add_continuations();
      for (int32_t id : continuation.token_ids().ids()) scores.add_tokens()->set_id(id);
    }
    if (request.continuations().empty()) {
      for (int i = 1; i < request.token_ids().ids_size(); ++i) {
        response.mutable_sequence()->add_tokens();
      }
    }
    return grpc::Status::OK;
  };
}

TEST(LoadDriverTest, EveryCallEndsOnce) {
  FakeServer server;
  AnswerWell(server.service);

  const LoadReport report = RunLoad(OptionsFor(server));

  EXPECT_THAT(report.violations, IsEmpty());
  ASSERT_EQ(report.calls.size(), 40u);
  int by_status = 0;
  for (const auto& [code, count] : report.by_status) by_status += count;
  EXPECT_EQ(by_status, 40);
  int scores = 0, cancelled = 0, short_deadline = 0;
  for (const CallRecord& call : report.calls) {
    EXPECT_EQ(call.times_ended, 1);
    scores += call.is_score;
    cancelled += call.fate == CallFate::kCancelled;
    short_deadline += call.fate == CallFate::kShortDeadline;
  }
  EXPECT_GT(scores, 0);
  EXPECT_GT(cancelled, 0);
  EXPECT_GT(short_deadline, 0);
  EXPECT_GT(report.tokens, 0);
}

TEST(LoadDriverTest, AMessageAfterTheEndIsAViolation) {
  FakeServer server;
  server.service.generate_stream = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                                      grpc::ServerWriter<v1::GenerateChunk>& writer) {
    v1::GenerateChunk chunk;
    chunk.set_request_id("r");
    chunk.add_samples()->set_finish_reason(v1::LENGTH);
    for (int i = 0; i < request.max_tokens(); ++i) chunk.mutable_samples(0)->add_token_ids(0);
    chunk.mutable_usage();
    writer.Write(chunk);
    writer.Write(chunk);
    return grpc::Status::OK;
  };
  LoadOptions options = OptionsFor(server);
  options.scores = options.cancelled = options.short_deadline = 0;
  options.num_calls = 1;

  const LoadReport report = RunLoad(options);

  EXPECT_THAT(report.violations, Contains(HasSubstr("a message after the usage")));
  EXPECT_THAT(report.violations, Contains(HasSubstr("a sample went on after its end")));
  EXPECT_THAT(report.violations, Contains(HasSubstr("usage differs")));
}

TEST(LoadDriverTest, AnUnexplainedStatusIsAViolation) {
  FakeServer server;
  LoadOptions options = OptionsFor(server);
  options.num_calls = 2;

  EXPECT_THAT(RunLoad(options).violations, Contains(HasSubstr("ended with UNIMPLEMENTED")));
}

TEST(LoadDriverTest, CallsThatStayOpenAreCancelledAtTheLimit) {
  FakeServer server;
  server.service.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                                      grpc::ServerWriter<v1::GenerateChunk>&) {
    return AwaitCancellation(context);
  };
  LoadOptions options = OptionsFor(server);
  options.scores = options.cancelled = options.short_deadline = 0;
  options.num_calls = 2;
  options.limit = absl::Milliseconds(50);

  const LoadReport report = RunLoad(options);

  EXPECT_EQ(report.by_status.at(absl::StatusCode::kCancelled), 2);
  EXPECT_THAT(report.violations, Contains(HasSubstr("still open")));
}

}  // namespace
}  // namespace deltaserve
