#include "server/billing/ledger_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/billing/records.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class LedgerStoreTest : public testing::Test {
 protected:
  LedgerStore Open() {
    absl::StatusOr<LedgerStore> store = LedgerStore::Open(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  TempDir dir_;
  const std::string path_ = dir_ / "ledger.db";
};

void ExpectSame(const UsageRecord& a, const UsageRecord& b) {
  EXPECT_EQ(a.request_id, b.request_id);
  EXPECT_EQ(a.tenant, b.tenant);
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.opened, b.opened);
  EXPECT_EQ(a.closed, b.closed);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.reserved, b.reserved);
  EXPECT_EQ(a.billed, b.billed);
  EXPECT_EQ(a.absorbed, b.absorbed);
  EXPECT_EQ(a.usage.prompt_tokens, b.usage.prompt_tokens);
  EXPECT_EQ(a.usage.cached_prompt_tokens, b.usage.cached_prompt_tokens);
  EXPECT_EQ(a.usage.completion_tokens, b.usage.completion_tokens);
  EXPECT_EQ(a.usage.scored_tokens, b.usage.scored_tokens);
  EXPECT_EQ(a.usage.queue_ns, b.usage.queue_ns);
  EXPECT_EQ(a.usage.time_to_first_token_ns, b.usage.time_to_first_token_ns);
  EXPECT_EQ(a.usage.total_ns, b.usage.total_ns);
  EXPECT_EQ(a.usage.device, b.usage.device);
}

TEST_F(LedgerStoreTest, KeepsARequestAsItWas) {
  UsageRecord record = ClosedRecord("a-1", 1'000'000'000'003);
  record.code = absl::StatusCode::kDeadlineExceeded;
  ASSERT_TRUE(Open().Write({record}).ok());
  const auto found = Open().FindRequest("a-1", "acme");
  ASSERT_TRUE(found.ok()) << found.status();
  ExpectSame(*found, record);
}

TEST_F(LedgerStoreTest, FindsATenantsRequestsOnlyForIt) {
  LedgerStore store = Open();
  ASSERT_TRUE(store.Write({ClosedRecord("a-1", 1)}).ok());
  EXPECT_TRUE(store.FindRequest("a-1", std::nullopt).ok());
  EXPECT_EQ(store.FindRequest("a-1", "other").status(),
            store.FindRequest("a-1", "another").status());
  EXPECT_TRUE(absl::IsNotFound(store.FindRequest("a-1", "other").status()));
  EXPECT_TRUE(absl::IsNotFound(store.FindRequest("a-2", std::nullopt).status()));
}

TEST_F(LedgerStoreTest, OpensThenCloses) {
  LedgerStore store = Open();
  const UsageRecord open = OpenRecord("a-1", 90);
  ASSERT_TRUE(store.Write({open}).ok());
  ExpectSame(*store.FindRequest("a-1", std::nullopt), open);
  EXPECT_THAT(*store.FindTotals({}), IsEmpty());
  const UsageRecord closed = Closed(open, 40);
  ASSERT_TRUE(store.Write({closed}).ok());
  ExpectSame(*store.FindRequest("a-1", std::nullopt), closed);
  EXPECT_EQ(store.FindTotals({})->at(0).billed, 40);
}

// A commit may have gone through although it was reported as failed.
TEST_F(LedgerStoreTest, WhatComesAgainCountsOnce) {
  LedgerStore store = Open();
  const UsageRecord open = OpenRecord("a-1", 90);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store.Write({open, Closed(open, 40)}).ok());
  const auto totals = store.FindTotals({});
  ASSERT_THAT(*totals, SizeIs(1));
  EXPECT_EQ(totals->at(0).requests, 1);
  EXPECT_EQ(totals->at(0).billed, 40);
}

TEST_F(LedgerStoreTest, BillsWhatWasReservedForInterruptedRequests) {
  {
    LedgerStore store = Open();
    EXPECT_EQ(store.num_interrupted(), 0);
    ASSERT_TRUE(store.Write({OpenRecord("a-1", 90), OpenRecord("a-2", 60)}).ok());
    ASSERT_TRUE(store.Write({Closed(OpenRecord("a-2", 60), 40)}).ok());
  }
  for (const int64_t interrupted : {1, 0}) {
    LedgerStore store = Open();
    EXPECT_EQ(store.num_interrupted(), interrupted);
    const auto record = store.FindRequest("a-1", std::nullopt);
    EXPECT_EQ(record->state, UsageRecord::State::kInterrupted);
    EXPECT_EQ(record->code, absl::StatusCode::kUnavailable);
    EXPECT_EQ(record->billed, 90);
    const auto total = store.FindTotals({})->at(0);
    EXPECT_EQ(total.requests, 2);
    EXPECT_EQ(total.interrupted, 1);
    EXPECT_EQ(total.billed, 130);
  }
}

TEST_F(LedgerStoreTest, AddsUp) {
  LedgerStore store = Open();
  ASSERT_TRUE(store
                  .Write({ClosedRecord("1", 1, "acme", "demo", kDay),
                          ClosedRecord("2", 20, "acme", "demo", kDay),
                          ClosedRecord("3", 300, "acme", "twin", kDay),
                          ClosedRecord("4", 4000, "brand", "demo", kDay),
                          ClosedRecord("5", 50000, "acme", "demo", kDay + 1)})
                  .ok());
  const auto all = store.FindTotals({});
  ASSERT_THAT(*all, SizeIs(1));
  const UsageTotal& sum = all->at(0);
  EXPECT_EQ(sum.tenant, std::nullopt);
  EXPECT_EQ(sum.day, std::nullopt);
  EXPECT_EQ(sum.requests, 5);
  EXPECT_EQ(sum.billed, 54321);
  EXPECT_EQ(sum.absorbed, 25);
  EXPECT_EQ(sum.usage.prompt_tokens, 55);
  EXPECT_EQ(sum.usage.device[Phase::kPrefill],
            (DeviceUse{.device_ns = 500, .energy_uj = 35, .cost = 54321}));
  EXPECT_EQ(sum.usage.device[Phase::kScore],
            (DeviceUse{.device_ns = 1500, .energy_uj = {}, .cost = {}}));

  const auto lines = store.FindTotals({.by_tenant = true, .by_model = true, .by_day = true});
  std::vector<std::string> text;
  for (const UsageTotal& line : *lines) {
    text.push_back(absl::FormatCivilTime(*line.day) + " " + *line.tenant + " " + *line.model + " " +
                   std::to_string(line.billed));
  }
  EXPECT_THAT(text,
              testing::ElementsAre("2026-11-23 acme demo 21", "2026-11-23 acme twin 300",
                                   "2026-11-23 brand demo 4000", "2026-11-24 acme demo 50000"));
  const auto billed = [&](const UsageQuery& query) {
    return store.FindTotals(query)->at(0).billed;
  };
  EXPECT_EQ(billed({.tenant = "acme"}), 50321);
  EXPECT_EQ(billed({.model = "demo"}), 54021);
  EXPECT_EQ(billed({.first_day = kDay + 1}), 50000);
  EXPECT_EQ(billed({.last_day = kDay}), 4321);
  EXPECT_EQ(billed({.tenant = "brand", .by_day = true}), 4000);
  EXPECT_THAT(*store.FindTotals({.tenant = "nobody"}), IsEmpty());
  EXPECT_THAT(*store.FindTotals({.tenant = "nobody", .by_model = true}), IsEmpty());
}

TEST_F(LedgerStoreTest, DaysAreThoseOfUtcAndMayLieBefore1970) {
  LedgerStore store = Open();
  UsageRecord record = ClosedRecord("1", 1, "acme", "demo", absl::CivilDay(1969, 12, 31));
  ASSERT_TRUE(store.Write({record}).ok());
  EXPECT_EQ(store.FindTotals({.by_day = true})->at(0).day, absl::CivilDay(1969, 12, 31));
}

TEST_F(LedgerStoreTest, OneProcessAtATime) {
  LedgerStore store = Open();
  const auto second = LedgerStore::Open(path_);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(path_), HasSubstr("another process has it open")));
}

TEST_F(LedgerStoreTest, RefusesWhatIsNoLedger) {
  std::ofstream(path_) << std::string(5000, 'x');
  EXPECT_TRUE(absl::IsDataLoss(LedgerStore::Open(path_).status()));

  const std::string other = dir_ / "other.db";
  ASSERT_TRUE(Database::Open(other)->Execute("CREATE TABLE t (x)").ok());
  const auto not_ours = LedgerStore::Open(other);
  EXPECT_TRUE(absl::IsDataLoss(not_ours.status())) << not_ours.status();
  EXPECT_THAT(std::string(not_ours.status().message()), HasSubstr("no ledger"));

  const auto nowhere = LedgerStore::Open(dir_ / "none" / "ledger.db");
  EXPECT_TRUE(absl::IsUnavailable(nowhere.status())) << nowhere.status();
}

TEST_F(LedgerStoreTest, RefusesALedgerOfAnotherVersion) {
  Open();
  ASSERT_TRUE(Database::Open(path_)->Execute("PRAGMA user_version = 7").ok());
  const auto store = LedgerStore::Open(path_);
  EXPECT_TRUE(absl::IsDataLoss(store.status()));
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("version 7"));
}

}  // namespace
}  // namespace deltaserve
