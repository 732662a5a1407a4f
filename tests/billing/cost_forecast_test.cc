#include "server/billing/cost_forecast.h"

#include <gtest/gtest.h>

#include <vector>

namespace deltaserve {
namespace {

// A dollar a second: a nanosecond costs 1000 picodollars.
constexpr Prices kPrices = {.per_device_hour = 3600 * int64_t{1'000'000'000}, .per_kwh = {}};

// A nanosecond for each FLOP, and for each byte.
CostModel ModelOf(const ModelCosts& costs) {
  return CostModel(costs, {.bytes_per_second = 1e9, .flops_per_second = 1e9});
}

void AddStep(CostForecast& forecast, int64_t tokens, SteadyNs measured_ns) {
  const SequenceWork work = {.tokens = tokens, .kv_len = tokens, .logit_rows = 1};
  StepStats step;
  step.model = "demo";
  step.end = measured_ns;
  step.work = {&work, 1};
  forecast.OnStep(step);
}

// Steps take exactly what the model says: many of them, so that nothing is left of the deviation.
void Calibrate(CostForecast& forecast, const CostModel& model) {
  const SequenceWork work = {.tokens = 1, .kv_len = 1, .logit_rows = 1};
  const int64_t ns = model.Picoseconds({&work, 1})[0] / 1000;
  for (int i = 0; i < 200; ++i) AddStep(forecast, 1, ns);
}

TEST(StepTimesTest, ExactStepsLeaveNoMargin) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) times.Add(1000, 1500);
  EXPECT_NEAR(times.WorstNs(1000), 1500, 1);
  EXPECT_NEAR(times.WorstNs(4000), 6000, 1);
}

TEST(StepTimesTest, UnsteadyOnesDo) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) times.Add(1000, i % 2 ? 1000 : 2000);
  EXPECT_GT(times.WorstNs(1000), 2000);
  EXPECT_LT(times.WorstNs(1000), 5000);
}

TEST(StepTimesTest, OfManyStepsTheMeanCounts) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) times.Add(1000, i % 2 ? 1000 : 2000);
  EXPECT_GT(times.WorstNs(1000, 10'000), 10'000 * 1400);
  EXPECT_LT(times.WorstNs(1000, 10'000), 10'000 * 1700);
  EXPECT_EQ(times.WorstNs(1000, 0), 0);
}

TEST(StepTimesTest, AStallOfASeldomSizeDoesNotCount) {
  StepTimes times;
  times.Add(16'000, 50'000'000);
  EXPECT_GT(times.WorstNs(1000), 1'000'000);
  for (int i = 0; i < 200; ++i) times.Add(1000, 1000);
  EXPECT_NEAR(times.WorstNs(1000), 1000, 1);
}

TEST(StepTimesTest, ASingleStallIsForgotten) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) times.Add(1000, 1000);
  times.Add(1000, 100'000);
  EXPECT_GT(times.WorstNs(1000), 50'000);
  for (int i = 0; i < 200; ++i) times.Add(1000, 1000);
  EXPECT_NEAR(times.WorstNs(1000), 1000, 1);
}

// Nothing is known of small steps but that they take no longer than larger ones.
TEST(StepTimesTest, WhatIsSmallerThanAllThatWasSeen) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) times.Add(1024, 1024);
  EXPECT_NEAR(times.WorstNs(3), 2048, 1);
}

// The overhead of small steps is known, also to a request that would run in large ones.
TEST(StepTimesTest, TheWorstSizeCounts) {
  StepTimes times;
  for (int i = 0; i < 200; ++i) {
    times.Add(10, 50);
    times.Add(10'000, 11'000);
  }
  EXPECT_NEAR(times.WorstNs(10), 50, 1);
  EXPECT_NEAR(times.WorstNs(10'000), 50'000, 50);
}

TEST(CostForecastTest, EveryTokenOfAGeneration) {
  CostForecast forecast(kPrices, /*max_batch_tokens=*/4);
  ModelCosts costs;
  costs.block_weight_bytes = 100;
  costs.flops_per_token = 10;
  costs.flops_per_logit_row = 1;
  forecast.AddModel("demo", ModelOf(costs));
  Calibrate(forecast, ModelOf(costs));
  GenerateRequest request;
  request.model = "demo";
  request.prompt.assign(10, 0);
  request.max_tokens = 21;
  // The prompt in three steps, the last of which gives the first token; then twenty.
  const double ns = (3 * 100 + 10 * 10 + 1) + 20 * (100 + 10 + 1);
  EXPECT_NEAR(forecast.WorstCase(request), 1000 * ns, 10 * ns);
  // Samples share the weights and the prompt.
  request.n = 3;
  EXPECT_NEAR(forecast.WorstCase(request), 1000 * (ns + 20 * 2 * 11), 10 * ns);
}

TEST(CostForecastTest, ALongerContextCostsMore) {
  CostForecast forecast(kPrices, 512);
  ModelCosts costs;
  costs.flops_per_attended = 1;
  forecast.AddModel("demo", ModelOf(costs));
  Calibrate(forecast, ModelOf(costs));
  GenerateRequest request;
  request.model = "demo";
  request.prompt.assign(4, 0);
  request.max_tokens = 5;
  // 1 + 2 + 3 + 4 of the prompt, then 5 + 6 + 7 + 8.
  EXPECT_NEAR(forecast.WorstCase(request), 1000 * 36, 2000);
}

TEST(CostForecastTest, AllTokensOfAScore) {
  CostForecast forecast(kPrices, 512);
  ModelCosts costs;
  costs.flops_per_token = 10;
  costs.flops_per_logit_row = 100;
  forecast.AddModel("demo", ModelOf(costs));
  Calibrate(forecast, ModelOf(costs));
  ScoreRequest request;
  request.model = "demo";
  request.context.assign(7, 0);
  EXPECT_NEAR(forecast.WorstCase(request), 1000 * (70 + 700), 10000);
  request.continuations = {{1, 2}, {3}};
  EXPECT_NEAR(forecast.WorstCase(request), 1000 * (100 + 300), 10000);
}

TEST(CostForecastTest, NothingKnownReservesALot) {
  CostForecast forecast(kPrices, 512);
  ModelCosts costs;
  costs.flops_per_token = 10;
  forecast.AddModel("demo", ModelOf(costs));
  GenerateRequest request;
  request.model = "demo";
  request.prompt = {1};
  request.max_tokens = 1;
  EXPECT_EQ(forecast.WorstCase(request), 1000 * 100);
  request.model = "other";
  EXPECT_EQ(forecast.WorstCase(request), 0);
}

TEST(CostForecastTest, EnergyComesWithTheTime) {
  // A dollar for each joule.
  CostForecast forecast({.per_device_hour = {}, .per_kwh = int64_t{3'600'000} * 1'000'000'000},
                        512);
  ModelCosts costs;
  costs.flops_per_token = 1000;
  forecast.AddModel("demo", ModelOf(costs));
  Calibrate(forecast, ModelOf(costs));
  GenerateRequest request;
  request.model = "demo";
  request.prompt = {1};
  request.max_tokens = 1;
  EXPECT_EQ(forecast.WorstCase(request), 0);
  // 500 watts: a microsecond is 500 microjoules.
  forecast.OnUsed({.device_ns = 2000, .energy_uj = 1000, .cost = {}});
  EXPECT_NEAR(forecast.WorstCase(request), 500 * int64_t{1'000'000}, 5e6);
}

}  // namespace
}  // namespace deltaserve
