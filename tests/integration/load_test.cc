// Many concurrent calls against the real server, a third of them cancelled or past their deadline.
// The environment's DELTASERVE_LOAD_CALLS says how many, DELTASERVE_LOAD_DEVICE on which device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "client/cpp/client.h"
#include "server/api/clock.h"
#include "server/billing/ledger_store.h"
#include "tests/support/load/load_driver.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

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

int64_t Nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

// What the metrics say of the device's time.
struct DeviceTime {
  explicit DeviceTime(const MetricsSnapshot& metrics) {
    const auto in = [&metrics](const char* state) {
      return Nanoseconds(metrics.Sum("deltaserve_device_seconds_total", {state}));
    };
    busy = in("state=\"busy\"");
    wall = busy + in("state=\"overhead\"") + in("state=\"idle\"");
  }
  int64_t busy = 0;
  int64_t wall = 0;
};

// Promise 12 under load, from outside: two models on one device, calls that are cancelled, expire
// and are preempted.
TEST(LoadTest, EveryNanosecondOfTheDeviceIsInTheMetricsAndInTheLedger) {
  const TempDir dir;
  const std::string ledger_path = dir / "ledger.db";
  const SteadyClock clock;  // every process of the machine reads the same
  const SteadyNs before_start = clock.Now();
  absl::StatusOr<ServerProcess> server = ServerProcess::Start(
      {"--model", "tiny=" DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec", "--model",
       "plain=" DELTASERVE_SOURCE_DIR "/tests/golden/additive", "--device",
       Environment("DELTASERVE_LOAD_DEVICE", "cpu"), "--kv-cache-tokens", "512", "--ledger",
       ledger_path, "--usd-per-device-hour", "3600"});
  ASSERT_TRUE(server.ok()) << server.status();

  LoadOptions options;
  options.address = server->address();
  ASSERT_TRUE(absl::SimpleAtoi(Environment("DELTASERVE_LOAD_CALLS", "200"), &options.num_calls));
  options.num_calls /= 2;
  options.vocab_size = 512;
  options.limit = absl::Seconds(300);
  LoadOptions of_plain = options;
  options.model = "tiny";
  of_plain.model = "plain";
  of_plain.seed = 2;
  std::thread beside([&] { EXPECT_THAT(RunLoad(of_plain).violations, IsEmpty()); });
  EXPECT_THAT(RunLoad(options).violations, IsEmpty());
  beside.join();

  // No step is under way: what requests were charged is all that the device did.
  const MetricsSnapshot metrics = MetricsOnceIdle(*server);
  ASSERT_TRUE(IsIdle(metrics));
  EXPECT_GT(metrics.Sum("deltaserve_requests_total", {"outcome=\"cancelled\""}), 0);
  EXPECT_GT(metrics.Sum("deltaserve_preemptions_total"), 0);
  const auto attributed = [&metrics](const std::string& model, Phase phase) {
    return Nanoseconds(
        metrics.Sum("deltaserve_attributed_seconds_total",
                    {"model=\"" + model + "\"", "phase=\"" + std::string(Name(phase)) + "\""}));
  };
  int64_t sum = 0;
  for (const std::string model : {"tiny", "plain"}) {
    for (const Phase phase : kPhases) {
      sum += attributed(model, phase);
      EXPECT_GT(attributed(model, phase), 0) << model << ' ' << Name(phase);
    }
  }
  EXPECT_EQ(sum, DeviceTime(metrics).busy);

  // Between two scrapes the three states grow by what the clock does.
  const SteadyNs before_first = clock.Now();
  const DeviceTime first(server->ScrapeMetrics().value());
  const SteadyNs after_first = clock.Now();
  absl::SleepFor(absl::Milliseconds(50));
  const SteadyNs before_second = clock.Now();
  const DeviceTime second(server->ScrapeMetrics().value());
  const SteadyNs after_second = clock.Now();
  EXPECT_LE(first.wall, after_first - before_start);
  EXPECT_GE(second.wall - first.wall, before_second - after_first);
  EXPECT_LE(second.wall - first.wall, after_second - before_first);
  EXPECT_EQ(second.busy, first.busy);

  // The ledger's rows add up to the same, to the nanosecond; money is rounded once for each phase
  // of a request.
  ASSERT_EQ(server->Stop().value_or(-1), 0) << server->process().err();
  absl::StatusOr<LedgerStore> ledger = LedgerStore::Open(ledger_path);
  ASSERT_TRUE(ledger.ok()) << ledger.status();
  const auto totals = ledger->FindTotals({.by_model = true});
  ASSERT_TRUE(totals.ok() && totals->size() == 2) << totals.status();
  Picodollars billed = 0;
  int64_t requests = 0;
  for (const UsageTotal& total : *totals) {
    for (const Phase phase : kPhases) {
      EXPECT_EQ(total.usage.device[phase].device_ns, attributed(*total.model, phase))
          << *total.model << ' ' << Name(phase);
    }
    billed += total.billed;
    requests += total.requests;
  }
  EXPECT_NEAR(Usd(billed), metrics.Sum("deltaserve_cost_usd_total"), 3e-12 * requests);
  EXPECT_NEAR(Usd(billed), metrics.Sum("deltaserve_billed_usd_total"), 1e-9);
}

}  // namespace
}  // namespace deltaserve
