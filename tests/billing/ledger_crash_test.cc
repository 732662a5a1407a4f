// A process that bills is killed at random moments. What it had reported is in the ledger, once,
// and its tenants have not been billed more than their budgets.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <random>
#include <sstream>
#include <string>

#include "absl/time/clock.h"
#include "server/billing/ledger_store.h"
#include "tests/support/process/subprocess.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

constexpr int kKills = 100;
constexpr Picodollars kBudget = 20'000'000'000'000;

TEST(LedgerCrashTest, AHundredKills) {
  TempDir dir;
  const std::string path = dir / "ledger.db";
  std::minstd_rand random(7);
  std::map<std::string, Picodollars> reported;
  int64_t interrupted = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    auto victim =
        Subprocess::Start({LEDGER_VICTIM, path, std::to_string(kBudget), std::to_string(kill)});
    ASSERT_TRUE(victim.ok()) << victim.status();
    // Some are killed while they recover what the last one left.
    absl::SleepFor(absl::Milliseconds(random() % 80));
    (*victim)->Signal(SIGKILL);
    ASSERT_EQ((*victim)->Wait(absl::Seconds(60)).value_or(0), -SIGKILL) << (*victim)->err();
    std::istringstream lines((*victim)->out());
    std::string id;
    Picodollars billed = 0;
    while (lines >> id >> billed) EXPECT_TRUE(reported.emplace(id, billed).second) << id;

    if (kill % 10 != 9) continue;
    absl::StatusOr<LedgerStore> store = LedgerStore::Open(path);
    ASSERT_TRUE(store.ok()) << store.status();
    for (const auto& [id, billed] : reported) {
      const auto row = store->FindRequest(id, std::nullopt);
      ASSERT_TRUE(row.ok()) << row.status();
      EXPECT_EQ(row->state, UsageRecord::State::kClosed) << id;
      EXPECT_EQ(row->billed, billed) << id;
    }
    const auto poor = store->FindTotals({.tenant = "poor"});
    ASSERT_TRUE(poor.ok());
    if (!poor->empty()) {
      EXPECT_LE(poor->at(0).billed, kBudget);
      interrupted = poor->at(0).interrupted;
    }
  }
  EXPECT_GT(reported.size(), kKills);
  EXPECT_GT(interrupted, 0);

  // The sums are those of the rows.
  Database database = *Database::Open(path);
  const auto select = [&](const std::string& sql) { return *database.SelectInteger(sql); };
  EXPECT_EQ(select("SELECT count(*) FROM requests WHERE state = 'open'"), 0);
  EXPECT_EQ(select("SELECT count(*) FROM requests"), select("SELECT sum(requests) FROM totals"));
  EXPECT_EQ(select("SELECT sum(billed_pusd) FROM requests"),
            select("SELECT sum(billed_pusd) FROM totals"));
  EXPECT_GE(select("SELECT count(*) FROM requests"), static_cast<int64_t>(reported.size()));
}

}  // namespace
}  // namespace deltaserve
