// Many concurrent calls against the real server, a third of them cancelled or past their deadline.
// The environment's DELTASERVE_LOAD_CALLS says how many, DELTASERVE_LOAD_DEVICE on which device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "client/cpp/client.h"
#include "tests/support/load/load_driver.h"
#include "tests/support/process/server_process.h"

namespace deltaserve {
namespace {

using ::testing::IsEmpty;

std::string Environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

// Every call that arrived has ended, and nothing is held any more.
bool IsIdle(const MetricsSnapshot& metrics) {
  return metrics.Sum("deltaserve_requests_received_total") ==
             metrics.Sum("deltaserve_requests_total") &&
         metrics.Sum("deltaserve_requests_running") == 0 &&
         metrics.Sum("deltaserve_requests_waiting") == 0 &&
         metrics.Sum("deltaserve_kv_pages", {"state=\"used\""}) == 0;
}

// A caller that left early does not wait for the server to notice.
MetricsSnapshot MetricsOnceIdle(const ServerProcess& server) {
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  for (;;) {
    MetricsSnapshot metrics = server.ScrapeMetrics().value();
    if (IsIdle(metrics) || absl::Now() > limit) return metrics;
    absl::SleepFor(absl::Milliseconds(20));
  }
}

TEST(LoadTest, EveryCallEndsOnceAndNothingIsLeftBehind) {
  absl::StatusOr<ServerProcess> server =
      ServerProcess::Start({"--model", "tiny=" DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec",
                            "--device", Environment("DELTASERVE_LOAD_DEVICE", "cpu")});
  ASSERT_TRUE(server.ok()) << server.status();

  LoadOptions options;
  options.address = server->address();
  options.model = "tiny";
  ASSERT_TRUE(absl::SimpleAtoi(Environment("DELTASERVE_LOAD_CALLS", "200"), &options.num_calls));
  options.vocab_size = 512;
  options.limit = absl::Seconds(300);
  const LoadReport report = RunLoad(options);

  EXPECT_THAT(report.violations, IsEmpty());
  int unseen = 0;  // may have ended on their way to the server
  for (const CallRecord& call : report.calls) {
    EXPECT_EQ(call.times_ended, 1);
    unseen += !call.status.ok() && call.chunks == 0;
  }

  const MetricsSnapshot metrics = MetricsOnceIdle(*server);
  EXPECT_TRUE(IsIdle(metrics)) << "running " << metrics.Sum("deltaserve_requests_running")
                               << ", waiting " << metrics.Sum("deltaserve_requests_waiting")
                               << ", pages "
                               << metrics.Sum("deltaserve_kv_pages", {"state=\"used\""});
  EXPECT_TRUE(metrics.Has("deltaserve_kv_pages"));
  const auto outcome = [&metrics](const std::string& name) {
    return metrics.Sum("deltaserve_requests_total", {"outcome=\"" + name + "\""});
  };
  const double ended = metrics.Sum("deltaserve_requests_total");
  EXPECT_LE(ended, options.num_calls);
  EXPECT_GE(ended, options.num_calls - unseen);
  EXPECT_EQ(ended, outcome("ok") + outcome("cancelled") + outcome("deadline_exceeded"))
      << server->process().err();
  EXPECT_GE(outcome("ok"), report.by_status.at(absl::StatusCode::kOk))
      << "a caller may have left just before the end";
  EXPECT_GE(metrics.Sum("deltaserve_generated_tokens_total"), report.tokens);

  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(1);
  request.set_max_tokens(4);
  const auto response = Client::Connect(server->address()).Generate(request);
  EXPECT_TRUE(response.ok()) << response.status();

  const absl::StatusOr<int> exit = server->Stop();
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(*exit, 0) << server->process().err();
}

}  // namespace
}  // namespace deltaserve
