// Budgets over a real engine, on a clock that stands still but in steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "server/api/retry_hint.h"
#include "server/billing/billed_queue.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/metered_queue.h"
#include "tests/billing/records.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

// A dollar a second.
constexpr Prices kPrices = {.per_device_hour = 3600 * int64_t{1'000'000'000}, .per_kwh = {}};
constexpr Picodollars kPerNs = 1000;
constexpr DevicePeaks kPeaks = {.bytes_per_second = 1e10, .flops_per_second = 1e11};

class Ticker final : public StepObserver {
 public:
  explicit Ticker(ManualClock& clock) : clock_(clock) {}
  void OnStepBegin(std::string_view, SteadyNs) override { clock_.Advance(step_ns); }
  void OnStep(const StepStats&) override {}
  void OnLoad(const ModelLoad&) override {}

  std::atomic<SteadyNs> step_ns = 1'000'000;

 private:
  ManualClock& clock_;
};

class BudgetedEngineTest : public testing::Test {
 protected:
  BudgetedEngineTest()
      : meter_(kPrices, energy_, ManualClock::kStart),
        engine_(MakeReferenceBackend(), {GoldenLane("ddl_cc")}),
        ticker_(engine_.clock()),
        metered_(engine_.loop(), meter_),
        ledger_(*UsageLedger::Open(dir_ / "ledger.db", {})),
        forecast_(kPrices, 512),
        queue_(
            {.queue = metered_,
             .ledger = *ledger_,
             .budgets = budgets_,
             .forecast = forecast_,
             .cost_so_far = [this](RequestId id) { return meter_.UseSoFar(id).cost.value_or(0); },
             .now = [] { return NoonOf(kDay); }},
            LedgerFailure::kRefuse) {
    const CostModel cost(engine_.costs(), kPeaks);
    meter_.AddModel("ddl_cc", cost);
    forecast_.AddModel("ddl_cc", cost);
    for (StepObserver* observer :
         {static_cast<StepObserver*>(&ticker_), static_cast<StepObserver*>(&meter_),
          static_cast<StepObserver*>(&forecast_), static_cast<StepObserver*>(&queue_)}) {
      engine_.observer().TellAlso(observer);
    }
    engine_.Finish();  // starts it
    // So that the forecast knows what steps take.
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(RunFor(DefaultTenant(), GreedyRequest({1, 2, 3}, 20))->status().ok());
    }
  }

  template <typename Request>
  std::shared_ptr<RecordingSink> Run(Request request) {
    return RunFor(acme_, std::move(request));
  }

  template <typename Request>
  std::shared_ptr<RecordingSink> RunFor(std::shared_ptr<const Tenant> tenant, Request request) {
    request.id = ++last_id_;
    request.name = std::to_string(request.id);
    request.tenant = std::move(tenant);
    request.model = "ddl_cc";
    auto sink = std::make_shared<RecordingSink>();
    EXPECT_TRUE(queue_.Submit(std::move(request), sink).ok());
    (void)sink->status();  // waits
    return sink;
  }

  UsageRecord LastRow() {
    std::promise<UsageRecord> row;
    ledger_->FindRequest(std::to_string(last_id_), std::nullopt,
                         [&](absl::StatusOr<UsageRecord> found) { row.set_value(*found); });
    return row.get_future().get();
  }

  // What it cost is all of what was reserved and less than a step more.
  void ExpectEndedAtItsReservation(const UsageRecord& row) {
    EXPECT_EQ(row.billed, *row.reserved);
    const Picodollars cost = *row.usage.TotalDeviceUse().cost;
    EXPECT_EQ(cost, row.billed + row.absorbed);
    EXPECT_LT(row.absorbed, ticker_.step_ns * kPerNs);
  }

  const std::shared_ptr<const Tenant> acme_ = std::make_shared<Tenant>(
      Tenant{.name = "acme", .budget = Budget{.limit = 1'000'000'000'000'000}});
  TempDir dir_;
  NoEnergyCounter energy_;
  CostMeter meter_;
  TestEngine engine_;
  Ticker ticker_;
  MeteredQueue metered_;
  std::unique_ptr<UsageLedger> ledger_;
  Budgets budgets_;
  CostForecast forecast_;
  BilledQueue queue_;
  RequestId last_id_ = 0;
};

TEST_F(BudgetedEngineTest, StepsThatTakeWhatTheyTookStayWithinTheReservation) {
  for (const int64_t tokens : {1, 5, 40}) {
    const auto sink = Run(GreedyRequest({4, 5, 6, 7}, tokens));
    EXPECT_EQ(sink->sample().finish, FinishReason::kLength);
    const UsageRecord row = LastRow();
    EXPECT_LE(row.billed, *row.reserved);
    EXPECT_EQ(row.billed, tokens * 1'000'000 * kPerNs);
    EXPECT_EQ(row.absorbed, 0);
    EXPECT_EQ(sink->usage().billed, row.billed);
    EXPECT_EQ(sink->usage().durable, true);
  }
}

TEST_F(BudgetedEngineTest, AGenerationThatReachesItsReservationEndsWithBudget) {
  ticker_.step_ns = 100'000'000;
  const auto sink = Run(GreedyRequest({1, 2, 3}, 40));
  EXPECT_TRUE(sink->status().ok());
  EXPECT_EQ(sink->sample().finish, FinishReason::kBudget);
  EXPECT_FALSE(sink->sample().tokens.empty());
  EXPECT_LT(sink->sample().tokens.size(), 40);
  ExpectEndedAtItsReservation(LastRow());
}

TEST_F(BudgetedEngineTest, AScoreThatReachesItsReservationEndsAndIsNotToBeTriedAgain) {
  ticker_.step_ns = 1'000'000'000;
  ScoreRequest request;  // of several steps
  request.context.assign(100, 1);
  request.continuations.assign(12, std::vector<int32_t>(100, 2));
  const auto sink = Run(std::move(request));
  EXPECT_TRUE(absl::IsResourceExhausted(sink->status())) << sink->status();
  EXPECT_THAT(std::string(sink->status().message()), testing::HasSubstr("budget"));
  EXPECT_EQ(RetryHintOf(sink->status()), absl::InfiniteDuration());
  ExpectEndedAtItsReservation(LastRow());
}

TEST_F(BudgetedEngineTest, WhatIsLeftIsWhatWasNotBilled) {
  Run(GreedyRequest({1, 2, 3}, 20));
  const Picodollars before = budgets_.BalanceOf(*acme_, NoonOf(kDay)).billed;
  EXPECT_EQ(before, 20 * 1'000'000 * kPerNs);
  Run(SequenceRequest({1, 2, 3, 4}));
  const Budgets::Balance after = budgets_.BalanceOf(*acme_, NoonOf(kDay));
  EXPECT_EQ(after.reserved, 0);
  EXPECT_EQ(after.billed, before + LastRow().billed);
}

}  // namespace
}  // namespace deltaserve
