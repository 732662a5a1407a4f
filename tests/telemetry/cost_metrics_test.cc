#include "server/telemetry/cost_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <vector>

#include "tests/telemetry/fake_energy.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kSecond = 1'000'000'000;

class FixedClock final : public Clock {
 public:
  SteadyNs Now() const override { return now; }
  SteadyNs now = 0;
};

std::string Scrape(const CostMetrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

void Step(CostMeter& meter, SteadyNs begin, SteadyNs end) {
  SequenceWork work;
  work.request = 1;
  work.phase = Phase::kDecode;
  work.tokens = 1;
  StepStats step;
  step.model = "m";
  step.begin = begin;
  step.end = end;
  step.work = {&work, 1};
  meter.OnStepBegin("m", begin);
  meter.OnStep(step);
}

TEST(CostMetricsTest, TimeMoneyAndEnergy) {
  FakeEnergyCounter energy;
  energy.microjoules = 0;
  FixedClock clock;
  CostMeter meter({.per_device_hour = 3600 * kSecond, .per_kwh = std::nullopt}, energy, 0);
  meter.AddModel("m", {});
  meter.AddTenant("acme");
  const CostMetrics metrics({{"cpu", &meter}}, clock);
  meter.EndOverhead(2 * kSecond);
  *energy.microjoules = 5'000'000;
  Step(meter, 3 * kSecond, 7 * kSecond);
  meter.OnStepBegin("m", 8 * kSecond);
  clock.now = 10 * kSecond;

  const std::string text = Scrape(metrics);
  // At a dollar a second.
  for (const char* line : {
           R"(deltaserve_device_seconds_total{state="busy"} 6)",
           R"(deltaserve_device_seconds_total{state="overhead"} 2)",
           R"(deltaserve_device_seconds_total{state="idle"} 2)",
           R"(deltaserve_attributed_seconds_total{model="m",tenant="default",phase="decode"} 4)",
           R"(deltaserve_cost_usd_total{model="m",tenant="default",phase="decode"} 4)",
           R"(deltaserve_cost_usd_total{model="m",tenant="default",phase="prefill"} 0)",
           R"(deltaserve_cost_usd_total{model="m",tenant="acme",phase="decode"} 0)",
           R"(deltaserve_idle_cost_usd_total{state="idle"} 2)",
           R"(deltaserve_idle_cost_usd_total{state="overhead"} 2)",
           "deltaserve_device_energy_joules_total 5",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
}

TEST(CostMetricsTest, WhatIsNotKnownIsNotShown) {
  NoEnergyCounter energy;
  const FixedClock clock;
  CostMeter meter({}, energy, 0);
  const std::string text = Scrape(CostMetrics({{"cpu", &meter}}, clock));
  EXPECT_THAT(text, HasSubstr("device_seconds_total"));
  EXPECT_THAT(text, Not(HasSubstr("usd")));
  EXPECT_THAT(text, Not(HasSubstr("joules")));
}

TEST(CostMetricsTest, SeveralDevicesAreNamed) {
  NoEnergyCounter no_energy;
  FixedClock clock;
  CostMeter first({}, no_energy, 0), second({}, no_energy, 0);
  second.EndOverhead(kSecond);
  clock.now = 3 * kSecond;
  const std::string text = Scrape(CostMetrics({{"cuda:0", &first}, {"cuda:1", &second}}, clock));
  for (const char* line : {
           R"(deltaserve_device_seconds_total{state="overhead",device="cuda:0"} 3)",
           R"(deltaserve_device_seconds_total{state="overhead",device="cuda:1"} 1)",
           R"(deltaserve_device_seconds_total{state="idle",device="cuda:1"} 2)",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
}

}  // namespace
}  // namespace deltaserve
