#include "client/cli/cost_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "client/cli/cost_plot.h"

namespace deltaserve::cli {
namespace {

using testing::HasSubstr;

TokenCost Cost(double usd, std::optional<double> of_additive = std::nullopt) {
  TokenCost cost;
  cost.device_seconds = 1000 * usd;
  cost.usd = usd;
  cost.of_additive = of_additive;
  return cost;
}

// A DDL model, its twin, and one without.
CostReport Report() {
  CostReport report;
  report.load.batches = {1, 8};
  report.load.prompt_tokens = 128;
  report.load.completion_tokens = 64;
  report.usd_per_device_hour = 2.49;
  report.has_usd = true;
  report.models.resize(3);
  ModelCost& ddl = report.models[0];
  ddl.model.set_name("ddl");
  ddl.model.set_residual("ddl_cc_ec");
  ddl.model.set_value_channels(4);
  ddl.additive = "twin";
  ddl.batches = {{1, Cost(0.25, 1.0625), Cost(4, 1.125)}, {8, Cost(0.125, 0.5), Cost(1, 1)}};
  ModelCost& twin = report.models[1];
  twin.model.set_name("twin");
  twin.model.set_residual("additive");
  twin.batches = {{1, Cost(0.5), Cost(3)}, {8, Cost(0.25), Cost(12345)}};
  ModelCost& other = report.models[2];
  other.model.set_name("x");
  other.model.set_residual("ddl_tc");
  other.batches = {{1, Cost(0), Cost(1e-7)}, {8, Cost(0), Cost(2)}};
  return report;
}

std::string Printed(const CostReport& report) {
  std::ostringstream out;
  PrintCosts(report, out);
  return out.str();
}

TEST(CostOutputTest, ATableWithRatios) {
  EXPECT_EQ(Printed(Report()), R"(USD per million tokens, at 2.49 USD per device hour
each request: 128 prompt tokens, 64 completion tokens; medians of 3 rounds, ratios within each

                   PROMPT           COMPLETION
MODEL  RESIDUAL   batch 1  batch 8     batch 1  batch 8
ddl    ddl_cc_ec     0.25    0.125           4        1
       / twin       1.062    0.500       1.125    1.000
twin   additive       0.5     0.25           3    12345
x      ddl_tc           0        0       1e-07        2
)");
}

TEST(CostOutputTest, WithoutAPriceInSeconds) {
  CostReport report = Report();
  report.has_usd = false;
  report.models.resize(1);
  report.load.rounds = 1;
  EXPECT_EQ(Printed(report),
            R"(Device seconds per million tokens (the server has no price: --usd-per-device-hour)
each request: 128 prompt tokens, 64 completion tokens

                   PROMPT           COMPLETION
MODEL  RESIDUAL   batch 1  batch 8     batch 1  batch 8
ddl    ddl_cc_ec      250      125        4000     1000
       / twin       1.062    0.500       1.125    1.000
)");
}

TEST(CostOutputTest, JsonHasBothUnits) {
  CostReport report = Report();
  const Json json = ToJson(report);
  EXPECT_EQ(json["unit"], "usd");
  EXPECT_EQ(json["usd_per_device_hour"], 2.49);
  EXPECT_EQ(json["prompt_tokens"], 128);
  EXPECT_EQ(json["completion_tokens"], 64);
  EXPECT_EQ(json["rounds"], 3);
  ASSERT_EQ(json["models"].size(), 3u);
  EXPECT_EQ(json["models"][0]["residual"], "ddl_cc_ec");
  EXPECT_EQ(json["models"][0]["additive"], "twin");
  EXPECT_TRUE(json["models"][1]["additive"].is_null());
  const Json& batch = json["models"][0]["batches"][1];
  EXPECT_EQ(batch["batch"], 8);
  EXPECT_EQ(batch["prompt"]["usd_per_million"], 0.125);
  EXPECT_EQ(batch["prompt"]["device_seconds_per_million"], 125);
  EXPECT_EQ(batch["prompt"]["of_additive"], 0.5);
  EXPECT_TRUE(json["models"][1]["batches"][0]["prompt"]["of_additive"].is_null());

  report.has_usd = false;
  report.usd_per_device_hour.reset();
  report.models[0].batches[0].prompt.usd.reset();
  const Json seconds = ToJson(report);
  EXPECT_EQ(seconds["unit"], "device_seconds");
  EXPECT_TRUE(seconds["usd_per_device_hour"].is_null());
  EXPECT_TRUE(seconds["models"][0]["batches"][0]["prompt"]["usd_per_million"].is_null());
}

// Width and height of a PNG file (its first chunk, IHDR).
std::pair<uint32_t, uint32_t> PngSize(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string head(24, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  EXPECT_EQ(head.substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(head.substr(12, 4), "IHDR");
  const auto number = [&head](size_t at) {
    uint32_t value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(head[i]);
    return value;
  };
  return {number(16), number(20)};
}

TEST(CostPlotTest, IsAPngThatGrowsWithItsBars) {
  const std::string path = testing::TempDir() + "/costs.png";
  CostReport report = Report();
  ASSERT_TRUE(PlotCosts(report, path).ok());
  const auto [width, height] = PngSize(path);
  EXPECT_GT(width, 1000u);
  EXPECT_GT(height, 500u);

  const std::vector<ModelCost> three = report.models;
  for (int i = 0; i < 10; ++i) {
    report.models.insert(report.models.end(), three.begin(), three.end());
  }
  ASSERT_TRUE(PlotCosts(report, path).ok());
  EXPECT_GT(PngSize(path).first, width);
  std::filesystem::remove(path);
}

TEST(CostPlotTest, AFileThatCannotBeWrittenIsNamed) {
  const absl::Status status = PlotCosts(Report(), "/no/such/folder/costs.png");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/costs.png"));
}

}  // namespace
}  // namespace deltaserve::cli
