// The load of `deltactl bench` against a server that answers as each test says, and what comes of
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stop_token>
#include <string>
#include <vector>

#include "client/cli/bench_html.h"
#include "client/cli/bench_load.h"
#include "client/cli/bench_report.h"
#include "client/cli/command_line.h"
#include "server/api/mutex.h"
#include "tests/client/fake_server.h"

namespace deltaserve::cli {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Not;

void IgnoreProgress(const BenchProgress&) {}

class BenchLoadTest : public ::testing::Test {
 protected:
  BenchLoadTest() {
    service_.list_models = [](grpc::ServerContext&, const v1::ListModelsRequest&,
                              v1::ListModelsResponse& response) {
      response.add_models()->set_vocab_size(10);
      return grpc::Status::OK;
    };
    service_.generate_stream = [this](grpc::ServerContext&, const v1::GenerateRequest& request,
                                      grpc::ServerWriter<v1::GenerateChunk>& writer) {
      ++num_calls_;
      const int under_way = ++under_way_;
      for (int most = most_under_way_; most < under_way;) {
        if (most_under_way_.compare_exchange_weak(most, under_way)) break;
      }
      for (int32_t i = 0; i < request.max_tokens(); ++i) {
        v1::GenerateChunk chunk;
        chunk.add_samples()->add_token_ids(i);
        if (i + 1 == request.max_tokens()) {
          v1::Usage& usage = *chunk.mutable_usage();
          usage.set_prompt_tokens(request.token_ids().ids_size());
          usage.set_completion_tokens(request.max_tokens());
        }
        writer.Write(chunk);
      }
      --under_way_;
      return grpc::Status::OK;
    };
  }

  BenchLoad LoadOf(int64_t requests) {
    BenchLoad load;
    load.requests = requests;
    load.warmup = 0;
    load.prompt_tokens = {2, 5};
    load.max_tokens = {3, 3};
    return load;
  }

  BenchRun Run(const BenchLoad& load, const CallOptions& options = {}) {
    absl::StatusOr<BenchRun> run =
        RunBench(Client::Connect(server_.address()), load, options, IgnoreProgress);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : BenchRun();
  }

  std::atomic<int> num_calls_ = 0, under_way_ = 0, most_under_way_ = 0;
  FakeServer server_;
  FakeInferenceService& service_ = server_.service;
};

TEST_F(BenchLoadTest, AClosedLoopMakesTheCallsAskedForAndNoMoreAtOnce) {
  BenchLoad load = LoadOf(20);
  load.concurrency = 3;

  const BenchRun run = Run(load);

  EXPECT_EQ(run.calls.size(), 20u);
  EXPECT_EQ(num_calls_, 20);
  EXPECT_LE(most_under_way_, 3);
  for (const BenchCall& call : run.calls) {
    EXPECT_TRUE(call.status.ok()) << call.status;
    EXPECT_TRUE(call.counted);
    EXPECT_EQ(call.arrivals.size(), 3u);
    ASSERT_TRUE(call.usage.has_value());
    EXPECT_GE(call.usage->prompt_tokens(), 2);
    EXPECT_LE(call.usage->prompt_tokens(), 5);
    EXPECT_LE(call.due, call.begun);
    EXPECT_LE(call.begun, call.arrivals.front().at);
    EXPECT_LE(call.arrivals.back().at, call.ended);
  }
}

TEST_F(BenchLoadTest, AnOpenLoopCountsFromWhenACallWasDue) {
  BenchLoad load = LoadOf(30);
  load.rate = 10'000;  // far more than the one call at a time can bear
  load.max_in_flight = 1;

  const BenchRun run = Run(load);

  ASSERT_EQ(run.calls.size(), 30u);
  EXPECT_LE(most_under_way_, 1);
  double before = 0;
  for (const BenchCall& call : run.calls) {
    EXPECT_GT(call.due, before);
    before = call.due;
  }
  const BenchCall& last = run.calls.back();
  EXPECT_GE(last.begun, run.calls[28].ended) << "it had to wait for its turn";
  const BenchReport report = Summarize(load, run);
  EXPECT_GE(report.total.sorted().back(), last.ended - last.due);
}

TEST_F(BenchLoadTest, ErrorsAreResultsByStatus) {
  service_.generate_stream = [this](grpc::ServerContext&, const v1::GenerateRequest&,
                                    grpc::ServerWriter<v1::GenerateChunk>&) {
    return ++num_calls_ % 2 == 0 ? grpc::Status(grpc::RESOURCE_EXHAUSTED, "the queue is full")
                                 : grpc::Status::OK;
  };
  const BenchLoad load = LoadOf(10);

  const BenchReport report = Summarize(load, Run(load));

  EXPECT_EQ(report.calls, 10);
  EXPECT_EQ(report.ok, 5);
  EXPECT_EQ(report.errors.at("RESOURCE_EXHAUSTED").count, 5);
  EXPECT_EQ(report.errors.at("RESOURCE_EXHAUSTED").message, "the queue is full");
}

TEST_F(BenchLoadTest, AnInterruptedRunLeavesOutWhatItCutOff) {
  std::stop_source interrupt;
  service_.generate_stream = [&](grpc::ServerContext& context, const v1::GenerateRequest&,
                                 grpc::ServerWriter<v1::GenerateChunk>&) {
    if (++num_calls_ <= 2) return grpc::Status::OK;
    interrupt.request_stop();
    return AwaitCancellation(context);
  };
  BenchLoad load = LoadOf(1000);
  load.concurrency = 1;

  const BenchRun run = Run(load, {.cancellation = interrupt.get_token()});

  EXPECT_TRUE(run.interrupted);
  EXPECT_EQ(run.calls.size(), 2u);
}

TEST_F(BenchLoadTest, TextsAreTakenInTurn) {
  Mutex mutex;
  std::vector<std::string> texts;
  service_.generate_stream = [&](grpc::ServerContext&, const v1::GenerateRequest& request,
                                 grpc::ServerWriter<v1::GenerateChunk>&) {
    MutexLock lock(&mutex);
    texts.push_back(request.text());
    return grpc::Status::OK;
  };
  BenchLoad load = LoadOf(3);
  load.prompts = {"one", "two"};
  load.concurrency = 1;

  Run(load);

  MutexLock lock(&mutex);
  EXPECT_THAT(texts, ::testing::ElementsAre("one", "two", "one"));
}

TEST(DistributionTest, QuantilesAreTheLeastValuesThatReachTheirShare) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const Distribution distribution(values);

  EXPECT_EQ(distribution.Quantile(0.5), 50);
  EXPECT_EQ(distribution.Quantile(0.9), 90);
  EXPECT_EQ(distribution.Quantile(0.99), 99);
  EXPECT_EQ(distribution.Quantile(1), 100);
  EXPECT_EQ(distribution.Mean(), 50.5);
  EXPECT_EQ(Distribution({}).Quantile(0.5), 0);
}

// Two calls of two tokens, the first of which was due while warming up.
BenchRun SmallRun() {
  BenchRun run;
  run.seconds = 2;
  for (const double due : {-0.5, 0.5}) {
    BenchCall& call = run.calls.emplace_back();
    call.counted = due >= 0;
    call.due = due;
    call.begun = due + 0.01;
    call.arrivals = {{due + 0.25, 1}, {due + 1, 1}};
    call.ended = due + 1;
    v1::Usage& usage = call.usage.emplace();
    usage.set_prompt_tokens(10);
    usage.set_cached_prompt_tokens(6);
    usage.set_completion_tokens(2);
    usage.set_device_seconds(3);
    usage.mutable_prefill()->set_device_seconds(1);
    usage.mutable_decode()->set_device_seconds(2);
    usage.set_cost_usd(6);
    usage.mutable_prefill()->set_cost_usd(2);
    usage.mutable_decode()->set_cost_usd(4);
  }
  return run;
}

TEST(BenchReportTest, TimesCostsAndThroughputFollowTheirDefinitions) {
  const BenchReport report = Summarize({}, SmallRun());

  EXPECT_EQ(report.calls, 1);
  EXPECT_THAT(report.first_token.Quantile(0.5), DoubleNear(0.25, 1e-9));
  EXPECT_THAT(report.inter_token.Quantile(0.5), DoubleNear(0.75, 1e-9));
  EXPECT_THAT(report.total.Quantile(0.5), DoubleNear(1, 1e-9));
  EXPECT_THAT(report.late.Quantile(0.5), DoubleNear(0.01, 1e-9));
  EXPECT_EQ(report.tokens_per_second, 1.5) << "three came in the two seconds";
  EXPECT_EQ(report.calls_per_second, 1);
  ASSERT_TRUE(report.usd.has_value());
  EXPECT_THAT(report.usd->per_million, DoubleNear(6e6 / 12, 1e-3));
  EXPECT_THAT(report.usd->per_million_prompt, DoubleNear(2e6 / 4, 1e-3));
  EXPECT_THAT(report.usd->per_million_completion, DoubleNear(4e6 / 2, 1e-3));
  EXPECT_EQ(ToJson(report)["device_seconds"]["total"], 3);
}

TEST(BenchReportTest, WithoutAPriceThereIsNoCostInUsd) {
  BenchRun run = SmallRun();
  for (BenchCall& call : run.calls) call.usage->clear_cost_usd();

  EXPECT_TRUE(ToJson(Summarize({}, run))["usd"].is_null());
}

TEST(BenchReportTest, ThePageEscapesWhatTheServerSays) {
  BenchRun run = SmallRun();
  run.calls.back().status = absl::InternalError("<script>");

  const std::string page = BenchPage(Summarize({}, run));

  EXPECT_THAT(page, HasSubstr("INTERNAL: &lt;script&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
}

TEST(BenchCommandLineTest, OptionsBecomeTheLoad) {
  const auto parsed = ParseCommandLine({"bench", "--rate", "2.5", "--requests", "7", "--warmup",
                                        "0", "--prompt-tokens", "16-64", "--html", "page.html"});
  const auto* line = std::get_if<CommandLine>(&parsed);
  ASSERT_NE(line, nullptr) << std::get<EarlyExit>(parsed).message;
  const auto& bench = std::get<CommandLine::Bench>(line->request);
  EXPECT_EQ(bench.load.rate, 2.5);
  EXPECT_EQ(bench.load.requests, 7);
  EXPECT_EQ(bench.load.warmup, 0);
  EXPECT_EQ(bench.load.prompt_tokens.least, 16);
  EXPECT_EQ(bench.load.prompt_tokens.most, 64);
  EXPECT_EQ(bench.html_path, "page.html");
}

TEST(BenchCommandLineTest, WhatMakesNoLoadIsRefused) {
  for (const std::vector<std::string>& options : {std::vector<std::string>{"--rate", "0"},
                                                  {"--rate", "1", "--concurrency", "2"},
                                                  {"--requests", "5", "--duration", "1"},
                                                  {"--prompt-tokens", "64-16"},
                                                  {"--prompt-tokens", "1-2-3"},
                                                  {"--concurrency", "0"}}) {
    std::vector<std::string> arguments = {"bench"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto parsed = ParseCommandLine(arguments);
    const auto* exit = std::get_if<EarlyExit>(&parsed);
    ASSERT_NE(exit, nullptr) << options.front();
    EXPECT_EQ(exit->code, kExitUsage);
  }
}

}  // namespace
}  // namespace deltaserve::cli
