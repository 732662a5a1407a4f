#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "tests/service/test_calls.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(ScoreTest, OneSequenceWithAlternativesAndTrace) {
  TestServer server;
  v1::ScoreRequest request;
  request.set_text("abc");
  request.set_top_k(1);
  request.set_trace(true);
  PendingScore call(server, request);
  auto [submitted, sink] = server.queue().NextScore();
  EXPECT_EQ(submitted.model, "tiny");
  EXPECT_THAT(submitted.context, ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(submitted.top_k, 1);
  EXPECT_TRUE(submitted.trace);

  auto score = std::make_unique<ScoreResult>();
  score->sequence = {.logprobs = {-1, -2},
                     .is_greedy = {true, true},
                     .top_k = {{{.id = 'b', .logprob = -1}}, {{.id = 'x', .logprob = -0.5}}}};
  score->trace = {.num_layers = 1,
                  .num_tokens = 3,
                  .value_channels = 1,
                  .beta = {1, 2, 3, 4, 5, 6},
                  .proj = {.1f, .2f, .3f, .4f, .5f, .6f},
                  .v = {6, 5, 4, 3, 2, 1}};
  sink->OnDone({.status = absl::OkStatus(),
                .usage = {.prompt_tokens = 3, .scored_tokens = 2, .total_ns = 1},
                .score = std::move(score)});
  ASSERT_TRUE(call.status.get().ok());
  const v1::ScoreResponse& response = call.response;
  EXPECT_THAT(response.request_id(), Not(IsEmpty()));
  EXPECT_EQ(response.model(), "tiny");
  EXPECT_THAT(response.token_ids(), ElementsAre('a', 'b', 'c'));
  ASSERT_THAT(response.sequence().tokens(), SizeIs(2));
  EXPECT_EQ(response.sequence().tokens(0).id(), 'b');
  EXPECT_EQ(response.sequence().tokens(1).piece(), "c");
  EXPECT_EQ(response.sequence().tokens(1).top(0).piece(), "x");
  EXPECT_EQ(response.sequence().loglik(), -3);
  EXPECT_TRUE(response.sequence().is_greedy());
  EXPECT_THAT(response.continuations(), SizeIs(0));
  EXPECT_EQ(response.trace().num_tokens(), 3);
  EXPECT_THAT(response.trace().beta(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(response.trace().v(), SizeIs(6));
  EXPECT_EQ(response.usage().scored_tokens(), 2);
}

TEST(ScoreTest, Continuations) {
  TestServer server;
  v1::ScoreRequest request;
  request.set_text("ab");
  request.add_continuations()->set_text("c");
  request.add_continuations()->mutable_token_ids()->add_ids(257);
  PendingScore call(server, request);
  auto [submitted, sink] = server.queue().NextScore();
  EXPECT_THAT(submitted.continuations, ElementsAre(ElementsAre('c'), ElementsAre(257)));
  auto score = std::make_unique<ScoreResult>();
  score->continuations = {{.logprobs = {-1}, .is_greedy = {true}, .top_k = {}},
                          {.logprobs = {-4}, .is_greedy = {false}, .top_k = {}}};
  sink->OnDone({.status = absl::OkStatus(), .usage = {.total_ns = 1}, .score = std::move(score)});
  ASSERT_TRUE(call.status.get().ok());
  EXPECT_THAT(call.response.token_ids(), ElementsAre('a', 'b'));
  EXPECT_FALSE(call.response.has_sequence());
  EXPECT_FALSE(call.response.has_trace());
  ASSERT_THAT(call.response.continuations(), SizeIs(2));
  EXPECT_EQ(call.response.continuations(0).loglik(), -1);
  EXPECT_TRUE(call.response.continuations(0).is_greedy());
  EXPECT_EQ(call.response.continuations(1).tokens(0).piece(), "wor");
  EXPECT_FALSE(call.response.continuations(1).is_greedy());
}

TEST(ScoreTest, RefusalsAndBadEndsAreCounted) {
  TestServer server;
  PendingScore refused(server, v1::ScoreRequest());
  const grpc::Status status = refused.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("context"));

  v1::ScoreRequest request;
  request.set_text("ab");
  PendingScore failed(server, request);
  auto [submitted, sink] = server.queue().NextScore();
  sink->OnDone({.status = absl::UnavailableError("fault"),
                .usage = {.prompt_tokens = 2, .total_ns = 1},
                .score = nullptr});
  EXPECT_EQ(failed.status.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_NE(TrailingUsage(failed.context), nullptr);
  EXPECT_EQ(TrailingUsage(failed.context)->prompt_tokens(), 2);

  const auto finished = server.observer().finished();
  ASSERT_THAT(finished, SizeIs(2));
  EXPECT_EQ(finished[0].method, Method::kScore);
  EXPECT_EQ(finished[1].code, absl::StatusCode::kUnavailable);
  EXPECT_THAT(server.observer().received(), SizeIs(2));
}

TEST(ScoreTest, CancellingReachesTheQueue) {
  TestServer server;
  v1::ScoreRequest request;
  request.set_text("ab");
  PendingScore call(server, request);
  auto [submitted, sink] = server.queue().NextScore();
  call.context.TryCancel();
  server.queue().AwaitCancel(submitted.id);
  sink->OnDone({.status = absl::CancelledError(""), .usage = {.total_ns = 1}, .score = nullptr});
  EXPECT_EQ(call.status.get().error_code(), grpc::StatusCode::CANCELLED);
  server.observer().AwaitFinished(1);
}

}  // namespace
}  // namespace deltaserve
