// The loaded server is killed, five times. What it had told its callers is in the ledger, once, and
// the tenant with a budget has not been billed more. DELTASERVE_LOAD_DEVICE says on which device.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "auth/keys_file.h"
#include "client/cpp/client.h"
#include "server/api/mutex.h"
#include "server/billing/ledger_store.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

constexpr int kKills = 5;
constexpr int kCallers = 6;
constexpr char kBudget[] = "2";
constexpr Picodollars kBudgetPicodollars = 2'000'000'000'000;

// What callers were told. Thread-safe.
class Reported {
 public:
  void Add(const std::string& id, double billed_usd) {
    MutexLock lock(&mutex_);
    EXPECT_TRUE(billed_.emplace(id, billed_usd).second) << id;
  }
  std::map<std::string, double> billed() const {
    MutexLock lock(&mutex_);
    return billed_;
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, double> billed_ ABSL_GUARDED_BY(mutex_);
};

std::string AddTenant(const std::string& path, const std::string& name, bool has_budget) {
  v1::KeysFile::Tenant tenant;
  tenant.set_name(name);
  if (has_budget) {
    tenant.mutable_budget()->set_usd(kBudget);
    tenant.mutable_budget()->set_period("total");
  }
  return AddKey(path, tenant, /*admin=*/false).value().Text();
}

// Calls until the server is gone.
void CallOn(const std::string& address, const std::string& key, Reported& reported) {
  const Client client = Client::Connect(address);
  v1::GenerateRequest request;
  for (int32_t id = 1; id < 6; ++id) request.mutable_token_ids()->add_ids(id);
  request.set_max_tokens(8);
  request.set_ignore_eos(true);
  while (true) {
    const auto response = client.Generate(request, {.api_key = key});
    if (absl::IsUnavailable(response.status())) return;
    if (!response.ok()) continue;  // the budget
    EXPECT_TRUE(response->usage().durable());
    reported.Add(response->request_id(), response->usage().billed_usd());
  }
}

TEST(ServerCrashTest, WhatWasReportedIsInTheLedger) {
  TempDir dir;
  const std::string ledger_path = dir / "ledger.db";
  const std::string keys_path = dir / "keys";
  const std::string poor = AddTenant(keys_path, "poor", true);
  const std::string rich = AddTenant(keys_path, "rich", false);
  const char* device = std::getenv("DELTASERVE_LOAD_DEVICE");
  std::minstd_rand random(3);
  Reported reported;
  for (int kill = 0; kill < kKills; ++kill) {
    // A dollar for each second.
    absl::StatusOr<ServerProcess> server =
        ServerProcess::Start({"--model", "tiny=" DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec",
                              "--device", device == nullptr ? "cpu" : device, "--keys", keys_path,
                              "--ledger", ledger_path, "--usd-per-device-hour", "3600"});
    ASSERT_TRUE(server.ok()) << server.status();
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) {
      callers.emplace_back([&, i] { CallOn(server->address(), i % 2 ? poor : rich, reported); });
    }
    while (reported.billed().size() < static_cast<size_t>(kill + 1)) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    absl::SleepFor(absl::Milliseconds(random() % 500));
    server->process().Signal(SIGKILL);
    EXPECT_EQ(server->process().Wait(absl::Seconds(60)).value_or(0), -SIGKILL)
        << server->process().err();
    for (std::thread& caller : callers) caller.join();
  }

  absl::StatusOr<LedgerStore> store = LedgerStore::Open(ledger_path);
  ASSERT_TRUE(store.ok()) << store.status();
  const std::map<std::string, double> billed = reported.billed();
  for (const auto& [id, billed_usd] : billed) {
    const auto row = store->FindRequest(id, std::nullopt);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->state, UsageRecord::State::kClosed) << id;
    EXPECT_EQ(Usd(row->billed), billed_usd) << id;
  }
  const auto totals = store->FindTotals({.tenant = "poor"});
  ASSERT_TRUE(totals.ok() && !totals->empty());
  EXPECT_GT(totals->at(0).billed, 0);
  EXPECT_LE(totals->at(0).billed, kBudgetPicodollars);
}

}  // namespace
}  // namespace deltaserve
