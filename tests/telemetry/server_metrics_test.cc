#include "server/telemetry/server_metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace deltaserve {
namespace {

std::map<std::string, double> Values(const ServerState& state) {
  const ServerMetrics metrics([state] { return state; });
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    EXPECT_EQ(family.metric.size(), 1);
    const bool is_counter = family.type == prometheus::MetricType::Counter;
    EXPECT_EQ(is_counter, family.name.ends_with("_total")) << family.name;
    const prometheus::ClientMetric& metric = family.metric[0];
    EXPECT_TRUE(metric.label.empty()) << family.name;
    values[family.name] = is_counter ? metric.counter.value : metric.gauge.value;
  }
  return values;
}

TEST(ServerMetricsTest, WhatIsWellAndWhatIsNot) {
  ServerState state = {.max_waiting = 512, .ledger = {{}}};
  std::map<std::string, double> expected = {{"deltaserve_engine_healthy", 1},
                                            {"deltaserve_requests_waiting_limit", 512},
                                            {"deltaserve_ledger_healthy", 1},
                                            {"deltaserve_ledger_lost_records_total", 0}};
  EXPECT_EQ(Values(state), expected);

  state.engine_healthy = false;
  state.ledger = {.healthy = false, .lost_records = 7};
  expected["deltaserve_engine_healthy"] = 0;
  expected["deltaserve_ledger_healthy"] = 0;
  expected["deltaserve_ledger_lost_records_total"] = 7;
  EXPECT_EQ(Values(state), expected);
}

TEST(ServerMetricsTest, WithoutALedgerNothingIsSaidOfIt) { EXPECT_EQ(Values({}).size(), 2); }

}  // namespace
}  // namespace deltaserve
