#include "server/telemetry/gate_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <vector>

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;

// One layer, three tokens, two value channels.
class GateMetricsTest : public testing::Test {
 protected:
  // Whether the step was sampled.
  bool Step(std::string_view model) {
    const bool wanted = metrics_.WantsGates(model);
    StepStats step;
    step.model = model;
    step.gates = {.num_layers = 1,
                  .num_tokens = 3,
                  .value_channels = 2,
                  .beta = beta_,
                  .proj = proj_,
                  .v = v_};
    metrics_.OnStep(step);
    return wanted;
  }
  std::string Scrape() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  const std::vector<float> beta_ = {0.1f, 0.25f, 1.9f,  // attention
                                    1.0f, 1.0f,  1.5f};
  const std::vector<float> proj_ = std::vector<float>(12, 1.0f);
  const std::vector<float> v_ = {4, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  prometheus::Registry registry_;
  GateMetrics metrics_{registry_, {"m", "other"}, /*period=*/4};
};

TEST_F(GateMetricsTest, BetaRegimesAndDiscrepancyBySublayer) {
  EXPECT_TRUE(Step("m"));
  const std::string text = Scrape();
  const std::string attention = R"({layer="0",model="m",sublayer="attention"})";
  for (
      const std::string& line : {
          "deltaserve_gate_beta_count" + attention + " 3",
          "deltaserve_rewrite_discrepancy_sum" + attention + " 5",
          "deltaserve_rewrite_discrepancy_count" + attention + " 3",
          std::string(
              R"(deltaserve_gate_beta_bucket{layer="0",model="m",sublayer="attention",le="0.1"})"),
          std::string(
              R"(deltaserve_gate_regime_total{layer="0",model="m",regime="skip",sublayer="attention"} 1)"),
          std::string(
              R"(deltaserve_gate_regime_total{layer="0",model="m",regime="match",sublayer="attention"} 1)"),
          std::string(
              R"(deltaserve_gate_regime_total{layer="0",model="m",regime="over",sublayer="attention"} 1)"),
          std::string(
              R"(deltaserve_gate_regime_total{layer="0",model="m",regime="match",sublayer="mlp"} 2)"),
          std::string(
              R"(deltaserve_gate_regime_total{layer="0",model="m",regime="over",sublayer="mlp"} 1)"),
      }) {
    EXPECT_THAT(text, HasSubstr("\n" + line));
  }
}

TEST_F(GateMetricsTest, OneStepInAPeriodOfEachModel) {
  int sampled = 0;
  for (int i = 0; i < 12; ++i) sampled += Step("m");
  EXPECT_EQ(sampled, 3);
  EXPECT_TRUE(Step("other"));
  // A trace that somebody else asked for does not count.
  EXPECT_THAT(Scrape(), HasSubstr(R"(gate_beta_count{layer="0",model="m",sublayer="mlp"} 9)"));
}

TEST_F(GateMetricsTest, OthersMakeNoTimeSeries) {
  EXPECT_FALSE(Step("whatever"));
  EXPECT_THAT(Scrape(), Not(HasSubstr("whatever")));
}

TEST_F(GateMetricsTest, AModelWithoutGatesMakesNoTimeSeries) {
  EXPECT_TRUE(metrics_.WantsGates("m"));
  StepStats step;
  step.model = "m";
  metrics_.OnStep(step);
  EXPECT_THAT(Scrape(), Not(HasSubstr("layer=")));
}

}  // namespace
}  // namespace deltaserve
