#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <thread>
#include <vector>

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr SteadyNs kMillisecond = 1'000'000;

std::string Scrape(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
}

// The value of the line that starts with `series`, labels in the order of the text.
double Value(const Metrics& metrics, const std::string& series) {
  const std::string text = Scrape(metrics);
  const size_t at = text.find("\n" + series + " ");
  if (at == std::string::npos) {
    ADD_FAILURE() << series << " is not in\n" << text;
    return -1;
  }
  return std::stod(text.substr(at + series.size() + 2));
}

TEST(MetricsTest, OutcomesAddUpToReceivedRequests) {
  Metrics metrics({"m"});
  const Usage usage = {.prompt_tokens = 3, .total_ns = kMillisecond};
  for (int i = 0; i < 5; ++i) metrics.OnReceived(Method::kGenerate);
  metrics.OnFinished(Method::kGenerate, "m", absl::OkStatus(), usage, kMillisecond);
  metrics.OnFinished(Method::kGenerate, "m", absl::OkStatus(), usage, kMillisecond);
  metrics.OnFinished(Method::kGenerate, "m", absl::CancelledError(), usage, kMillisecond);
  metrics.OnFinished(Method::kGenerate, "m", absl::InvalidArgumentError(""), {}, kMillisecond);
  metrics.OnFinished(Method::kGenerate, "", absl::NotFoundError(""), {}, kMillisecond);

  EXPECT_EQ(Value(metrics, R"(deltaserve_requests_received_total{method="Generate"})"), 5);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr(R"(outcome="ok")"));
  double sum = 0;
  for (size_t at = text.find("\ndeltaserve_requests_total{"); at != std::string::npos;
       at = text.find("\ndeltaserve_requests_total{", at + 1)) {
    sum += std::stod(text.substr(text.find("} ", at) + 2));
  }
  EXPECT_EQ(sum, 5);
  EXPECT_THAT(text, HasSubstr(R"(outcome="cancelled")"));
  EXPECT_THAT(text, HasSubstr(R"(outcome="invalid_argument")"));
  EXPECT_THAT(text, HasSubstr(R"(outcome="not_found")"));
}

TEST(MetricsTest, CountsTokensAndLatenciesOfAcceptedRequestsOnly) {
  Metrics metrics({"m"});
  metrics.OnFinished(Method::kGenerateStream, "m", absl::OkStatus(),
                     {.prompt_tokens = 10,
                      .cached_prompt_tokens = 4,
                      .completion_tokens = 7,
                      .scored_tokens = 2,
                      .queue_ns = 20 * kMillisecond,
                      .time_to_first_token_ns = 3 * kMillisecond,
                      .total_ns = 50 * kMillisecond},
                     60 * kMillisecond);
  metrics.OnFinished(Method::kGenerateStream, "m", absl::ResourceExhaustedError(""), {}, 1);
  metrics.OnInterTokenLatency("m", 2 * kMillisecond, 3);

  const std::string stream = R"({method="GenerateStream",model="m"})";
  const std::string score = R"({method="Score",model="m"})";
  EXPECT_EQ(Value(metrics, "deltaserve_prompt_tokens_total" + stream), 10);
  EXPECT_EQ(Value(metrics, "deltaserve_prompt_tokens_total" + score), 0);
  EXPECT_EQ(Value(metrics, "deltaserve_cached_prompt_tokens_total" + stream), 4);
  EXPECT_EQ(Value(metrics, R"(deltaserve_generated_tokens_total{model="m"})"), 7);
  EXPECT_EQ(Value(metrics, R"(deltaserve_scored_tokens_total{model="m"})"), 2);
  EXPECT_EQ(Value(metrics, R"(deltaserve_queue_duration_seconds_count{model="m"})"), 1);
  EXPECT_EQ(Value(metrics, R"(deltaserve_time_to_first_token_seconds_count{model="m"})"), 1);
  EXPECT_NEAR(Value(metrics, R"(deltaserve_time_to_first_token_seconds_sum{model="m"})"), 0.003,
              1e-12);
  EXPECT_EQ(
      Value(metrics, R"(deltaserve_time_to_first_token_seconds_bucket{model="m",le="0.001"})"), 0);
  EXPECT_EQ(Value(metrics, R"(deltaserve_inter_token_latency_seconds_count{model="m"})"), 3);
  EXPECT_EQ(
      Value(metrics, R"(deltaserve_inter_token_latency_seconds_bucket{model="m",le="0.0025"})"), 3);
}

TEST(MetricsTest, StepsAndLoad) {
  Metrics metrics({"m", "other"});
  metrics.OnStep(
      {.model = "m", .begin = 0, .end = kMillisecond, .prefill_tokens = 8, .sequences = 1});
  metrics.OnStep(
      {.model = "m", .begin = 0, .end = kMillisecond, .decode_tokens = 2, .sequences = 2});
  metrics.OnStep({.model = "m",
                  .begin = 0,
                  .end = kMillisecond,
                  .prefill_tokens = 5,
                  .decode_tokens = 1,
                  .sequences = 2,
                  .preemptions = 3});
  metrics.OnLoad({.model = "m",
                  .requests_running = 4,
                  .requests_waiting = 5,
                  .pages_used = 6,
                  .pages_free = 7});

  const std::string text = Scrape(metrics);
  for (const char* phase : {"prefill", "decode", "mixed"}) {
    EXPECT_THAT(text, HasSubstr("phase=\"" + std::string(phase) + "\""));
  }
  EXPECT_EQ(Value(metrics, R"(deltaserve_batch_tokens_sum{model="m"})"), 16);
  EXPECT_EQ(Value(metrics, R"(deltaserve_batch_sequences_count{model="m"})"), 3);
  EXPECT_EQ(Value(metrics, R"(deltaserve_preemptions_total{model="m"})"), 3);
  EXPECT_EQ(Value(metrics, R"(deltaserve_requests_running{model="m"})"), 4);
  EXPECT_EQ(Value(metrics, R"(deltaserve_requests_waiting{model="m"})"), 5);
  EXPECT_EQ(Value(metrics, R"(deltaserve_batch_tokens_count{model="other"})"), 0);
  EXPECT_THAT(text, HasSubstr(R"(state="used")"));
  EXPECT_THAT(text, HasSubstr(R"(state="free")"));
}

TEST(MetricsTest, ModelInfo) {
  Metrics metrics({"m"});
  ModelInfo info;
  info.name = "m";
  info.residual = "ddl_cc_ec";
  info.value_channels = 4;
  info.dtype = "bf16";
  info.device = "cpu";
  metrics.SetModel(info, 1.5);
  EXPECT_EQ(Value(metrics, R"(deltaserve_model_load_duration_seconds{model="m"})"), 1.5);
  const std::string text = Scrape(metrics);
  for (const char* label :
       {R"(residual="ddl_cc_ec")", R"(d_v="4")", R"(dtype="bf16")", R"(device="cpu")"}) {
    EXPECT_THAT(text, HasSubstr(label));
  }
}

TEST(MetricsTest, AnUnservedModelMakesNoTimeSeries) {
  Metrics metrics({"m"});
  metrics.OnFinished(Method::kScore, "whatever a caller wrote", absl::NotFoundError(""), {}, 1);
  metrics.OnInterTokenLatency("whatever a caller wrote", 1, 1);
  metrics.OnStep({.model = "whatever a caller wrote"});
  EXPECT_THAT(Scrape(metrics), Not(HasSubstr("whatever")));
}

TEST(MetricsTest, ManyThreads) {
  Metrics metrics({"m"});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        metrics.OnReceived(Method::kScore);
        metrics.OnStep({.model = "m", .end = 1, .decode_tokens = 1, .sequences = 1});
        metrics.OnFinished(Method::kScore, "m", absl::OkStatus(), {.total_ns = 1}, 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Value(metrics, R"(deltaserve_requests_received_total{method="Score"})"), 400);
  EXPECT_EQ(Value(metrics, R"(deltaserve_batch_tokens_count{model="m"})"), 400);
}

}  // namespace
}  // namespace deltaserve
