#include <gtest/gtest.h>

#include "tests/support/process/server_process.h"

namespace deltaserve {
namespace {

TEST(MetricsSnapshotTest, SamplesAreSummedByTheirLabels) {
  const MetricsSnapshot metrics(
      "# HELP requests_total Requests\n"
      "# TYPE requests_total counter\n"
      "requests_total{method=\"Score\",outcome=\"ok\"} 3\n"
      "requests_total{method=\"Generate\",outcome=\"ok\"} 4 1700000000\n"
      "requests_total{method=\"Generate\",outcome=\"cancelled {x} y\"} 1e1\n"
      "up 1\n"
      "requests_total_created 99\n");

  EXPECT_EQ(metrics.Sum("requests_total"), 17);
  EXPECT_EQ(metrics.Sum("requests_total", {"outcome=\"ok\""}), 7);
  EXPECT_EQ(metrics.Sum("requests_total", {"outcome=\"ok\"", "method=\"Score\""}), 3);
  EXPECT_EQ(metrics.Sum("up"), 1);
  EXPECT_EQ(metrics.Sum("down"), 0);
  EXPECT_TRUE(metrics.Has("up"));
  EXPECT_FALSE(metrics.Has("down"));
}

}  // namespace
}  // namespace deltaserve
