#include "server/billing/billed_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/billing/full_disk.h"
#include "tests/billing/records.h"
#include "tests/billing/scripted_engine.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A model whose steps take what they are said to take: a nanosecond for each token and position.
CostModel TokenModel() {
  ModelCosts costs;
  costs.flops_per_token = 1;
  return CostModel(costs, {.bytes_per_second = 1, .flops_per_second = 1e9});
}

// A dollar a second: a nanosecond costs a nanodollar, 1000 picodollars.
constexpr Prices kPrices = {.per_device_hour = 3600 * int64_t{1'000'000'000}, .per_kwh = {}};
constexpr Picodollars kPerNs = 1000;

std::shared_ptr<const Tenant> Acme(std::optional<Picodollars> limit) {
  Tenant tenant;
  tenant.name = "acme";
  if (limit) tenant.budget = Budget{*limit, Budget::Period::kTotal};
  return std::make_shared<Tenant>(std::move(tenant));
}

class BilledQueueTest : public testing::Test {
 protected:
  BilledQueueTest() { Open(LedgerFailure::kRefuse); }

  void Open(LedgerFailure on_failure) {
    queue_.reset();
    ledger_.reset();
    auto ledger = UsageLedger::Open(path_, {.retry = absl::InfiniteDuration()});
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
    forecast_.emplace(kPrices, /*max_batch_tokens=*/512);
    forecast_->AddModel("demo", TokenModel());
    // Steps take three times as long as the model says.
    const SequenceWork work = {.tokens = 1, .kv_len = 1};
    StepStats step;
    step.model = "demo";
    step.end = 3;
    step.work = {&work, 1};
    for (int i = 0; i < 200; ++i) forecast_->OnStep(step);
    queue_.emplace(
        BilledQueue::Dependencies{.queue = engine_,
                                  .ledger = *ledger_,
                                  .budgets = budgets_,
                                  .forecast = *forecast_,
                                  .cost_so_far = [this](RequestId id) { return costs_[id]; },
                                  .now = [this] { return now_; }},
        on_failure);
  }

  // Reserves 3 ns for each of its 10 tokens, 30 kPerNs.
  absl::Status Submit(RequestId id, std::shared_ptr<const Tenant> tenant,
                      std::shared_ptr<AwaitedSink> sink) {
    GenerateRequest request;
    request.id = id;
    request.name = "r-" + std::to_string(id);
    request.tenant = std::move(tenant);
    request.model = "demo";
    request.prompt = {1, 2, 3};
    request.max_tokens = 8;
    return queue_->Submit(std::move(request), std::move(sink));
  }

  UsageRecord Row(RequestId id) {
    std::promise<UsageRecord> row;
    ledger_->FindRequest("r-" + std::to_string(id), std::nullopt,
                         [&](absl::StatusOr<UsageRecord> found) {
                           EXPECT_TRUE(found.ok()) << found.status();
                           row.set_value(found.ok() ? *std::move(found) : UsageRecord());
                         });
    return row.get_future().get();
  }

  uintmax_t LedgerSize() const { return std::filesystem::file_size(path_ + "-wal"); }

  static constexpr Picodollars kReserved = 30 * kPerNs;

  TempDir dir_;
  const std::string path_ = dir_ / "ledger.db";
  absl::Time now_ = NoonOf(kDay);
  ScriptedEngine engine_;
  Budgets budgets_;
  std::map<RequestId, Picodollars> costs_;
  std::unique_ptr<UsageLedger> ledger_;
  std::optional<CostForecast> forecast_;
  std::optional<BilledQueue> queue_;
};

TEST_F(BilledQueueTest, WithoutABudgetAllIsBilled) {
  const auto sink = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme({}), sink).ok());
  EXPECT_TRUE(engine_.Has(1));
  engine_.Finish(1, 12345, absl::CancelledError("gone"));
  const RequestOutcome& outcome = sink->Await();
  EXPECT_TRUE(absl::IsCancelled(outcome.status));
  EXPECT_EQ(outcome.usage.billed, 12345);
  EXPECT_EQ(outcome.usage.durable, true);
  const UsageRecord row = Row(1);
  EXPECT_EQ(row.tenant, "acme");
  EXPECT_EQ(row.model, "demo");
  EXPECT_EQ(row.state, UsageRecord::State::kClosed);
  EXPECT_EQ(row.code, absl::StatusCode::kCancelled);
  EXPECT_EQ(row.opened, now_);
  EXPECT_EQ(row.reserved, std::nullopt);
  EXPECT_EQ(row.billed, 12345);
  EXPECT_EQ(row.usage.prompt_tokens, 3);
}

TEST_F(BilledQueueTest, AReservationIsDurableBeforeTheEngineHasTheRequest) {
  const auto sink = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme(kReserved), sink).ok());
  engine_.Await(1);
  const UsageRecord row = Row(1);
  EXPECT_EQ(row.state, UsageRecord::State::kOpen);
  EXPECT_EQ(row.reserved, kReserved);
  EXPECT_EQ(budgets_.BalanceOf(*Acme(1), now_).reserved, kReserved);
  engine_.Finish(1, 4000);
  EXPECT_EQ(sink->Await().usage.billed, 4000);
  EXPECT_EQ(Row(1).billed, 4000);
  EXPECT_EQ(budgets_.BalanceOf(*Acme(1), now_).reserved, 0);
  EXPECT_EQ(budgets_.BalanceOf(*Acme(1), now_).billed, 4000);
}

TEST_F(BilledQueueTest, WhatGoesBeyondTheReservationIsAbsorbed) {
  const auto sink = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme(kReserved), sink).ok());
  engine_.Finish(1, kReserved + 7);
  EXPECT_EQ(sink->Await().usage.billed, kReserved);
  EXPECT_EQ(Row(1).billed, kReserved);
  EXPECT_EQ(Row(1).absorbed, 7);
}

TEST_F(BilledQueueTest, WhatExceedsTheBudgetIsRefusedAndLeavesNoRow) {
  const absl::Status refused = Submit(1, Acme(kReserved - 1), std::make_shared<AwaitedSink>());
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("0.000000029 USD are left"));
  EXPECT_FALSE(engine_.Has(1));
}

TEST_F(BilledQueueTest, EndsWhatHasCostWhatWasReserved) {
  const auto acme = Acme(10 * kReserved), boundless = Acme({});
  std::map<RequestId, std::shared_ptr<AwaitedSink>> sinks;
  for (const RequestId id : {1, 2, 3}) {
    sinks[id] = std::make_shared<AwaitedSink>();
    ASSERT_TRUE(Submit(id, id == 3 ? boundless : acme, sinks[id]).ok());
  }
  std::vector<SequenceWork> work;
  for (const RequestId id : {1, 2, 3}) {
    engine_.Await(id);
    work.push_back({.request = id, .sequence = id, .tokens = 1, .kv_len = 1});
  }
  costs_ = {{1, kReserved - 1}, {2, kReserved}, {3, 100 * kReserved}};
  StepStats step;
  step.model = "demo";
  step.work = work;
  queue_->OnStep(step);
  EXPECT_THAT(engine_.ended_for_budget(), ElementsAre(2));
  for (const RequestId id : {1, 2, 3}) engine_.Finish(id, 1);
  queue_->OnStep(step);
  EXPECT_THAT(engine_.ended_for_budget(), ElementsAre(2));
  for (const auto& [id, sink] : sinks) EXPECT_TRUE(sink->Await().status.ok());
}

TEST_F(BilledQueueTest, ACancellationIsNotLostWhileTheReservationIsWritten) {
  const auto sink = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme(kReserved), sink).ok());
  queue_->Cancel(1);
  engine_.Await(1);
  engine_.AwaitCancel(1);
  engine_.Finish(1, 0, absl::CancelledError("gone"));
  EXPECT_TRUE(absl::IsCancelled(sink->Await().status));
}

TEST_F(BilledQueueTest, WhatTheEngineRefusesGivesItsReservationBack) {
  engine_.Answer(absl::ResourceExhaustedError("the queue is full"));
  const auto sink = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme(kReserved), sink).ok());
  EXPECT_EQ(sink->Await().status.message(), "the queue is full");
  EXPECT_EQ(budgets_.BalanceOf(*Acme(1), now_).reserved, 0);
  EXPECT_EQ(Row(1).code, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Row(1).billed, 0);
}

TEST_F(BilledQueueTest, AFullDiskRefuses) {
  const auto under_way = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(1, Acme({}), under_way).ok());
  const auto opening = std::make_shared<AwaitedSink>();
  const auto first = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(9, Acme({}), first).ok());
  engine_.Finish(9, 1);
  EXPECT_EQ(first->Await().usage.durable, true);
  {
    const FullDisk full(LedgerSize());
    ASSERT_TRUE(Submit(2, Acme(2 * kReserved), opening).ok());
    EXPECT_TRUE(absl::IsUnavailable(opening->Await().status));
    EXPECT_FALSE(engine_.Has(2));
    engine_.Finish(1, 55);
    const RequestOutcome& outcome = under_way->Await();
    EXPECT_TRUE(absl::IsUnavailable(outcome.status));
    EXPECT_EQ(outcome.usage.durable, false);
    const absl::Status refused = Submit(3, Acme({}), std::make_shared<AwaitedSink>());
    EXPECT_TRUE(absl::IsUnavailable(refused));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("the usage ledger cannot be written"));
  }
  // A retry by hand.
  std::promise<void> written;
  ledger_->Write(ClosedRecord("x", 1), [&](const absl::Status&) { written.set_value(); });
  written.get_future().wait();
  EXPECT_EQ(Row(1).billed, 55);
  EXPECT_EQ(Row(2).billed, 0);
  EXPECT_TRUE(Submit(4, Acme({}), std::make_shared<AwaitedSink>()).ok());
}

TEST_F(BilledQueueTest, OrGoesOnAndSaysThatUsageIsNotDurable) {
  Open(LedgerFailure::kContinue);
  const auto first = std::make_shared<AwaitedSink>();
  ASSERT_TRUE(Submit(9, Acme({}), first).ok());
  engine_.Finish(9, 1);
  first->Await();
  const auto sink = std::make_shared<AwaitedSink>();
  {
    const FullDisk full(LedgerSize());
    ASSERT_TRUE(Submit(1, Acme(2 * kReserved), sink).ok());
    engine_.Finish(1, 55);
    EXPECT_TRUE(sink->Await().status.ok());
  }
  EXPECT_EQ(sink->Await().usage.durable, false);
  EXPECT_EQ(sink->Await().usage.billed, 55);
}

// A request is billed to the day on which it came, whatever the clock says at its end.
TEST_F(BilledQueueTest, AClockThatJumpsWhileARequestRuns) {
  Tenant daily;
  daily.name = "acme";
  daily.budget = Budget{kReserved, Budget::Period::kDay};
  const auto acme = std::make_shared<const Tenant>(daily);
  for (const int days : {1, -40, 400}) {
    const absl::Time before = now_;
    const RequestId id = 1000 + days;
    const auto sink = std::make_shared<AwaitedSink>();
    ASSERT_TRUE(Submit(id, acme, sink).ok());
    now_ += days * absl::Hours(24);
    // Another day's budget is whole; that of the first day is still reserved when it comes again.
    EXPECT_EQ(budgets_.BalanceOf(*acme, now_).reserved, 0);
    EXPECT_EQ(budgets_.BalanceOf(*acme, before).reserved, kReserved);
    engine_.Finish(id, kReserved);
    EXPECT_EQ(sink->Await().usage.billed, kReserved);
    EXPECT_EQ(Row(id).opened, before);
    EXPECT_EQ(Row(id).closed, now_);
    EXPECT_EQ(budgets_.BalanceOf(*acme, now_).billed, 0);
    const absl::Time after = now_;
    now_ = before;
    EXPECT_TRUE(absl::IsResourceExhausted(Submit(1, acme, std::make_shared<AwaitedSink>())));
    now_ = after;
  }
  // So the ledger has it after a restart, too.
  Budgets fresh;
  ASSERT_TRUE(fresh.Load(*ledger_).ok());
  EXPECT_EQ(fresh.BalanceOf(*acme, NoonOf(kDay)).billed, kReserved);
  EXPECT_EQ(fresh.BalanceOf(*acme, now_).billed, 0);
}

// Hundreds at once: whatever they cost, what is billed stays within the budget.
TEST_F(BilledQueueTest, ManyAtOnceAreNotBilledMoreThanTheBudget) {
  constexpr int kRequests = 400;
  constexpr Picodollars kLimit = 40 * kReserved;
  const auto acme = Acme(kLimit);
  std::atomic<int> admitted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (int i = 0; i < kRequests / 8; ++i) {
        const RequestId id = 1 + t * kRequests + i;
        const auto sink = std::make_shared<AwaitedSink>();
        if (!Submit(id, acme, sink).ok()) continue;
        ++admitted;
        // As often as not it costs more than was reserved.
        const Picodollars cost = random() % (2 * kReserved);
        engine_.Finish(id, cost);
        EXPECT_EQ(sink->Await().usage.billed, std::min(cost, kReserved));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(admitted, 40);
  EXPECT_LT(admitted, kRequests);
  std::promise<UsageTotal> total;
  ledger_->FindTotals(
      {}, [&](absl::StatusOr<std::vector<UsageTotal>> found) { total.set_value(found->at(0)); });
  const UsageTotal all = total.get_future().get();
  EXPECT_EQ(all.requests, admitted);
  EXPECT_LE(all.billed, kLimit);
  EXPECT_GT(all.billed, kLimit - kReserved);
  EXPECT_EQ(all.billed, budgets_.BalanceOf(*acme, now_).billed);
  EXPECT_EQ(budgets_.BalanceOf(*acme, now_).reserved, 0);
}

}  // namespace
}  // namespace deltaserve
