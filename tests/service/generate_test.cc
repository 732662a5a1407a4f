#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "deltaserve/v1/status_details.pb.h"
#include "tests/service/test_calls.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(GenerateTest, AnswersWithTextTokensAndUsage) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("hello");
  request.set_seed(5);
  PendingGenerate call(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  EXPECT_EQ(submitted.model, "tiny");
  EXPECT_EQ(submitted.prompt, (std::vector<int32_t>{'h', 'e', 'l', 'l', 'o'}));
  EXPECT_EQ(submitted.deadline, kNoDeadline);
  sink->OnTokens(0, Tokens("wo"));
  sink->OnTokens(0, Tokens("w"));
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({.status = absl::OkStatus(),
                .usage = {.prompt_tokens = 5,
                          .cached_prompt_tokens = 2,
                          .completion_tokens = 3,
                          .queue_ns = 1'000'000'000,
                          .time_to_first_token_ns = 2'000'000'000,
                          .total_ns = 3'000'000'000},
                .score = nullptr});
  ASSERT_TRUE(call.status.get().ok());
  const v1::GenerateResponse& response = call.response;
  EXPECT_THAT(response.request_id(), Not(IsEmpty()));
  EXPECT_EQ(response.model(), "tiny");
  EXPECT_EQ(response.seed(), 5u);
  ASSERT_THAT(response.samples(), SizeIs(1));
  EXPECT_EQ(response.samples(0).text(), "wow");
  EXPECT_THAT(response.samples(0).token_ids(), ElementsAre('w', 'o', 'w'));
  EXPECT_EQ(response.samples(0).finish_reason(), v1::LENGTH);
  EXPECT_EQ(response.usage().prompt_tokens(), 5);
  EXPECT_EQ(response.usage().cached_prompt_tokens(), 2);
  EXPECT_EQ(response.usage().completion_tokens(), 3);
  EXPECT_DOUBLE_EQ(response.usage().queue_seconds(), 1);
  EXPECT_DOUBLE_EQ(response.usage().time_to_first_token_seconds(), 2);
  EXPECT_DOUBLE_EQ(response.usage().total_seconds(), 3);

  const auto finished = server.observer().finished();
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(finished[0].method, Method::kGenerate);
  EXPECT_EQ(finished[0].model, "tiny");
  EXPECT_EQ(finished[0].code, absl::StatusCode::kOk);
  EXPECT_EQ(finished[0].usage.completion_tokens, 3);
  EXPECT_EQ(server.observer().latency_tokens(), 1);  // the first message's tokens have no gap
  EXPECT_THAT(server.log(), HasSubstr(response.request_id()));
  EXPECT_THAT(server.log(), HasSubstr("completion_tokens=3"));
  EXPECT_THAT(server.log(), Not(HasSubstr("hello")));
}

TEST(GenerateTest, SamplesKeepTheirIndex) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("x");
  request.set_n(3);
  PendingGenerate call(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  EXPECT_EQ(submitted.n, 3);
  sink->OnTokens(2, Tokens("c"));
  sink->OnTokens(0, Tokens("a"));
  sink->OnSampleDone(0, FinishReason::kStop);
  sink->OnTokens(1, Tokens("b"));
  sink->OnSampleDone(2, FinishReason::kLength);
  sink->OnSampleDone(1, FinishReason::kError);
  sink->OnDone({});
  ASSERT_TRUE(call.status.get().ok());
  ASSERT_THAT(call.response.samples(), SizeIs(3));
  const std::string texts[] = {"a", "b", "c"};
  const v1::FinishReason reasons[] = {v1::STOP, v1::ERROR, v1::LENGTH};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(call.response.samples(i).index(), i);
    EXPECT_EQ(call.response.samples(i).text(), texts[i]);
    EXPECT_EQ(call.response.samples(i).finish_reason(), reasons[i]);
  }
}

TEST(GenerateTest, SeedsAreRandomAndReturned) {
  TestServer server;
  uint64_t seeds[2];
  for (uint64_t& seed : seeds) {
    PendingGenerate call(server, GenerateText("x"));
    auto [submitted, sink] = server.queue().NextGenerate();
    sink->OnSampleDone(0, FinishReason::kLength);
    sink->OnDone({});
    ASSERT_TRUE(call.status.get().ok());
    seed = call.response.seed();
    EXPECT_EQ(seed, submitted.sampling.seed);
  }
  EXPECT_NE(seeds[0], seeds[1]);
}

TEST(GenerateTest, AStopStringStopsTheSampleInTheEngine) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("x");
  request.add_stop("world");
  PendingGenerate call(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("a wor"));
  sink->OnTokens(0, Tokens("ld an"));
  server.queue().AwaitStop(submitted.id, 0);
  sink->OnTokens(0, Tokens("d more"));
  sink->OnSampleDone(0, FinishReason::kStop);
  sink->OnDone({});
  ASSERT_TRUE(call.status.get().ok());
  EXPECT_EQ(call.response.samples(0).text(), "a ");
  EXPECT_THAT(call.response.samples(0).token_ids(), SizeIs(7));
  EXPECT_EQ(call.response.samples(0).finish_reason(), v1::STOP);
}

TEST(GenerateTest, LogprobsOnRequest) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("x");
  request.set_logprobs(1);
  PendingGenerate call(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  EXPECT_EQ(submitted.logprobs, 1);
  sink->OnTokens(0, {{.id = 'y', .logprob = -0.5f, .top = {{.id = 'z', .logprob = -0.25f}}}});
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({});
  ASSERT_TRUE(call.status.get().ok());
  const v1::Sample& sample = call.response.samples(0);
  ASSERT_THAT(sample.logprobs(), SizeIs(1));
  EXPECT_EQ(sample.logprobs(0).piece(), "y");
  EXPECT_EQ(sample.logprobs(0).logprob(), -0.5f);
  ASSERT_THAT(sample.logprobs(0).top(), SizeIs(1));
  EXPECT_EQ(sample.logprobs(0).top(0).id(), 'z');
}

TEST(GenerateTest, WithoutTokenizerIdsComeBack) {
  TestServer server({.tokenizer = nullptr});
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(7);
  PendingGenerate call(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  EXPECT_EQ(submitted.prompt, std::vector<int32_t>{7});
  sink->OnTokens(0, Tokens("ab"));
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({});
  ASSERT_TRUE(call.status.get().ok());
  EXPECT_EQ(call.response.samples(0).text(), "");
  EXPECT_THAT(call.response.samples(0).token_ids(), ElementsAre('a', 'b'));

  PendingGenerate refused(server, GenerateText("text"));
  const grpc::Status status = refused.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no tokenizer"));
}

TEST(GenerateTest, RefusalsHaveAStatusAndAreCounted) {
  TestServer server({.more_models = {"other"}});
  struct Case {
    std::string model;
    std::string text;
    absl::Status queue;
    grpc::StatusCode code;
    std::string message;
  };
  const Case cases[] = {
      {"tiny", "", absl::OkStatus(), grpc::StatusCode::INVALID_ARGUMENT, "prompt"},
      {"", "x", absl::OkStatus(), grpc::StatusCode::INVALID_ARGUMENT, "tiny, other"},
      {"none", "x", absl::OkStatus(), grpc::StatusCode::NOT_FOUND, "tiny, other"},
      {"tiny", "x", absl::ResourceExhaustedError("512 requests wait"),
       grpc::StatusCode::RESOURCE_EXHAUSTED, "512 requests wait"},
      {"tiny", "x", absl::UnavailableError("draining"), grpc::StatusCode::UNAVAILABLE, "draining"},
      {"tiny", "x", absl::InternalError("a secret"), grpc::StatusCode::INTERNAL, "request "},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    server.queue().Answer(c.queue);
    v1::GenerateRequest request = GenerateText(c.text);
    request.set_model(c.model);
    PendingGenerate call(server, request);
    const grpc::Status status = call.status.get();
    EXPECT_EQ(status.error_code(), c.code);
    EXPECT_THAT(status.error_message(), HasSubstr(c.message));
    EXPECT_EQ(TrailingUsage(call.context), nullptr);
    EXPECT_EQ(call.context.GetServerTrailingMetadata().count("deltaserve-request-id"), 1u);
  }
  const auto finished = server.observer().finished();
  ASSERT_THAT(finished, SizeIs(std::size(cases)));
  EXPECT_THAT(server.observer().received(), SizeIs(std::size(cases)));
  for (size_t i = 0; i < finished.size(); ++i) {
    EXPECT_EQ(static_cast<int>(finished[i].code), static_cast<int>(cases[i].code));
    EXPECT_EQ(finished[i].usage.total_ns, 0);
  }
  EXPECT_EQ(finished[2].model, "");  // what it called the model is not reported
  EXPECT_THAT(server.log(), HasSubstr("a secret"));
}

TEST(GenerateTest, AFullQueueSaysWhenToRetry) {
  TestServer server;
  server.queue().Answer(absl::ResourceExhaustedError("full"));
  PendingGenerate call(server, GenerateText("x"));
  const grpc::Status status = call.status.get();
  v1::StatusDetails details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_THAT(details.details(), SizeIs(1));
  EXPECT_THAT(details.details(0).type_url(), HasSubstr("google.rpc.RetryInfo"));
}

TEST(GenerateTest, ABadEndCarriesItsUsage) {
  TestServer server;
  PendingGenerate call(server, GenerateText("x"));
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("ab"));
  sink->OnDone({.status = absl::UnavailableError("the device is lost"),
                .usage = {.prompt_tokens = 1, .completion_tokens = 2, .total_ns = 5},
                .score = nullptr});
  const grpc::Status status = call.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the device is lost");
  const auto usage = TrailingUsage(call.context);
  ASSERT_NE(usage, nullptr);
  EXPECT_EQ(usage->completion_tokens(), 2);
  EXPECT_EQ(server.observer().finished().at(0).usage.completion_tokens, 2);
}

TEST(GenerateTest, CancellingReachesTheQueue) {
  TestServer server;
  PendingGenerate call(server, GenerateText("x"));
  auto [submitted, sink] = server.queue().NextGenerate();
  call.context.TryCancel();
  server.queue().AwaitCancel(submitted.id);
  sink->OnDone({.status = absl::CancelledError("by the caller"),
                .usage = {.prompt_tokens = 1, .total_ns = 5},
                .score = nullptr});
  EXPECT_EQ(call.status.get().error_code(), grpc::StatusCode::CANCELLED);
  const auto finished = server.observer().AwaitFinished(1);
  EXPECT_EQ(finished[0].code, absl::StatusCode::kCancelled);
  EXPECT_EQ(finished[0].usage.prompt_tokens, 1);
}

TEST(GenerateTest, TheDeadlineTravelsWithTheRequest) {
  TestServer server;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  v1::GenerateResponse response;
  const SteadyNs before = SteadyClock().Now();
  auto status = std::async(std::launch::async, [&] {
    return server.stub().Generate(&context, GenerateText("x"), &response);
  });
  auto [submitted, sink] = server.queue().NextGenerate();
  const SteadyNs hour = 3'600'000'000'000;
  EXPECT_GT(submitted.deadline, before + hour * 98 / 100);
  EXPECT_LT(submitted.deadline, SteadyClock().Now() + hour * 102 / 100);
  sink->OnDone({.status = absl::DeadlineExceededError("late"), .usage = {}, .score = nullptr});
  EXPECT_EQ(status.get().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(GenerateTest, OversizedAndMalformedMessagesAreInvalid) {
  RequestLimits limits;
  limits.max_request_bytes = 100;
  TestServer server({.limits = limits});
  PendingGenerate oversized(server, GenerateText(std::string(101, 'x')));
  grpc::Status status = oversized.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("the limit is 100"));

  PendingGenerate invalid(server, GenerateText("\xFF"));
  status = invalid.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("text: not UTF-8"));

  // What is far too long is not even received.
  PendingGenerate huge(server, GenerateText(std::string(1000, 'x')));
  EXPECT_EQ(huge.status.get().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace deltaserve
