#include "server/telemetry/vllm_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <sstream>
#include <string>

#include "server/telemetry/metrics.h"

namespace deltaserve {
namespace {

constexpr SteadyNs kMillisecond = 1'000'000;

// Every sample of an exposition, by its name and labels.
std::map<std::string, double> Scrape(const prometheus::Registry& registry) {
  std::map<std::string, double> values;
  std::istringstream text(prometheus::TextSerializer().Serialize(registry.Collect()));
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line.front() == '#') continue;
    const size_t space = line.rfind(' ');
    values[line.substr(0, space)] = std::stod(line.substr(space + 1));
  }
  return values;
}

// Hears what Metrics hears.
class VllmMetricsTest : public testing::Test {
 protected:
  void Finish(Method method, const absl::Status& status, const Usage& usage) {
    requests_.OnFinished(method, "m", status, usage, usage.total_ns + kMillisecond);
  }
  void EndSample(FinishReason reason, int64_t tokens, SteadyNs decode_ns) {
    requests_.OnSampleDone(
        "m", {.reason = reason, .tokens = tokens, .first_at = 7, .last_at = 7 + decode_ns});
  }
  double Ours(const std::string& series) { return Scrape(*metrics_.registry()).at(series); }
  double Vllm(const std::string& series) { return Scrape(*vllm_.registry()).at(series); }

  Metrics metrics_{{"m"}};
  VllmMetrics vllm_{{"m"}};
  RequestObservers requests_{{&metrics_, &vllm_}};
  StepObservers steps_{{&metrics_, &vllm_}};
};

TEST_F(VllmMetricsTest, WhatBothCountIsTheSame) {
  steps_.OnStep({.model = "m", .end = 1, .decode_tokens = 1, .sequences = 1, .preemptions = 3});
  steps_.OnLoad({.model = "m",
                 .requests_running = 4,
                 .requests_waiting = 5,
                 .pages_used = 6,
                 .pages_free = 18});
  for (int i = 1; i <= 20; ++i) {
    const Method method = i % 3 == 0 ? Method::kGenerate : Method::kGenerateStream;
    Finish(i % 5 == 0 ? Method::kScore : method,
           i % 7 == 0 ? absl::CancelledError() : absl::OkStatus(),
           {.prompt_tokens = 10 * i,
            .cached_prompt_tokens = 4 * i,
            .completion_tokens = 7,
            .queue_ns = i * kMillisecond,
            .time_to_first_token_ns = 3 * i * kMillisecond,
            .total_ns = 50 * i * kMillisecond});
    requests_.OnInterTokenLatency("m", i * kMillisecond, 3);
  }
  Finish(Method::kGenerate, absl::ResourceExhaustedError("refused"), {});

  const std::map<std::string, std::string> same = {
      {"num_requests_running", "requests_running"},
      {"num_requests_waiting", "requests_waiting"},
      {"num_preemptions_total", "preemptions_total"},
      {"generation_tokens_total", "generated_tokens_total"},
      {"time_to_first_token_seconds_count", "time_to_first_token_seconds_count"},
      {"time_to_first_token_seconds_sum", "time_to_first_token_seconds_sum"},
      {"inter_token_latency_seconds_count", "inter_token_latency_seconds_count"},
      {"inter_token_latency_seconds_sum", "inter_token_latency_seconds_sum"},
  };
  for (const auto& [vllm, ours] : same) {
    EXPECT_EQ(Vllm("vllm:" + vllm + R"({model_name="m"})"),
              Ours("deltaserve_" + ours + R"({model="m"})"))
        << vllm;
  }
  EXPECT_EQ(Vllm(R"(vllm:kv_cache_usage_perc{model_name="m"})"), 0.25);

  // Here by method, there over all of them.
  const auto over_methods = [this](const std::string& name, const std::string& le = "") {
    double sum = 0;
    for (const std::string method : {"Generate", "GenerateStream", "Score"}) {
      sum += Ours("deltaserve_" + name + "{method=\"" + method + "\",model=\"m\"" + le + "}");
    }
    return sum;
  };
  EXPECT_EQ(Vllm(R"(vllm:prompt_tokens_total{model_name="m"})"),
            over_methods("prompt_tokens_total"));
  EXPECT_EQ(Vllm(R"(vllm:prefix_cache_queries_total{model_name="m"})"),
            over_methods("prompt_tokens_total"));
  EXPECT_EQ(Vllm(R"(vllm:prefix_cache_hits_total{model_name="m"})"),
            over_methods("cached_prompt_tokens_total"));
  for (const std::string bound : {"0.1", "0.5", "1", "+Inf"}) {
    const std::string le = ",le=\"" + bound + "\"";
    EXPECT_EQ(Vllm("vllm:e2e_request_latency_seconds_bucket{model_name=\"m\"" + le + "}"),
              over_methods("request_duration_seconds_bucket", le));
  }
}

TEST_F(VllmMetricsTest, TheTimesOfARequest) {
  Finish(Method::kGenerate, absl::OkStatus(),
         {.queue_ns = 10 * kMillisecond,
          .time_to_first_token_ns = 30 * kMillisecond,
          .total_ns = 100 * kMillisecond});
  EXPECT_NEAR(Vllm(R"(vllm:request_prefill_time_seconds_sum{model_name="m"})"), 0.020, 1e-12);
  EXPECT_NEAR(Vllm(R"(vllm:request_decode_time_seconds_sum{model_name="m"})"), 0.070, 1e-12);
  // One that scores decodes nothing; one that was cancelled in the queue has done nothing yet.
  Finish(Method::kScore, absl::OkStatus(),
         {.queue_ns = 10 * kMillisecond,
          .time_to_first_token_ns = 15 * kMillisecond,
          .total_ns = 100 * kMillisecond});
  Finish(Method::kGenerate, absl::CancelledError(), {.total_ns = 100 * kMillisecond});
  EXPECT_EQ(Vllm(R"(vllm:request_prefill_time_seconds_count{model_name="m"})"), 2);
  EXPECT_NEAR(Vllm(R"(vllm:request_prefill_time_seconds_sum{model_name="m"})"), 0.025, 1e-12);
  EXPECT_EQ(Vllm(R"(vllm:request_decode_time_seconds_count{model_name="m"})"), 1);
  EXPECT_EQ(Vllm(R"(vllm:e2e_request_latency_seconds_count{model_name="m"})"), 3);
}

TEST_F(VllmMetricsTest, WhySamplesEndedAndHowFastTheyWere) {
  EndSample(FinishReason::kStop, 5, 8 * kMillisecond);  // 2 ms for each token after the first
  EndSample(FinishReason::kStop, 1, 0);
  EndSample(FinishReason::kLength, 3, 12 * kMillisecond);
  EndSample(FinishReason::kBudget, 0, 0);
  EndSample(FinishReason::kError, 0, 0);
  const Usage usage = {.total_ns = 1};
  Finish(Method::kGenerate, absl::OkStatus(), usage);  // its samples have ended before
  Finish(Method::kGenerate, absl::DeadlineExceededError(""), usage);
  Finish(Method::kScore, absl::OkStatus(), usage);
  Finish(Method::kScore, absl::CancelledError(), usage);
  Finish(Method::kScore, absl::InvalidArgumentError("refused"), {});
  const std::map<std::string, double> expected = {
      {"stop", 2 + 1}, {"length", 1 + 1}, {"abort", 2}, {"error", 1}};
  for (const auto& [reason, count] : expected) {
    EXPECT_EQ(
        Vllm("vllm:request_success_total{finished_reason=\"" + reason + "\",model_name=\"m\"}"),
        count)
        << reason;
  }
  EXPECT_EQ(Vllm(R"(vllm:request_time_per_output_token_seconds_count{model_name="m"})"), 2);
  EXPECT_NEAR(Vllm(R"(vllm:request_time_per_output_token_seconds_sum{model_name="m"})"), 0.008,
              1e-12);
}

TEST_F(VllmMetricsTest, AnUnservedModelMakesNoTimeSeries) {
  const size_t series = Scrape(*vllm_.registry()).size();
  requests_.OnFinished(Method::kScore, "other", absl::OkStatus(), {.total_ns = 1}, 1);
  requests_.OnSampleDone("other", {});
  steps_.OnLoad({.model = "other"});
  EXPECT_EQ(Scrape(*vllm_.registry()).size(), series);
}

}  // namespace
}  // namespace deltaserve
