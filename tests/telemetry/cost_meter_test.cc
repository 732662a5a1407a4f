// Charges worked out by hand, then conservation over random schedules.
#include "server/telemetry/cost_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/random_source.h"
#include "tests/telemetry/fake_energy.h"

namespace deltaserve {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

// Weights are tokens.
CostModel ByTokens() {
  ModelCosts costs;
  costs.flops_per_token = 1;
  return CostModel(costs, {.bytes_per_second = 1e12, .flops_per_second = 1e12});
}

SequenceWork Work(RequestId request, SequenceId sequence, Phase phase, int64_t tokens) {
  SequenceWork work;
  work.request = request;
  work.sequence = sequence;
  work.phase = phase;
  work.tokens = tokens;
  work.kv_len = tokens;
  return work;
}

void Step(CostMeter& meter, std::string_view model, SteadyNs begin, SteadyNs end,
          const std::vector<SequenceWork>& work, bool failed = false) {
  meter.OnStepBegin(model, begin);
  StepStats step;
  step.model = model;
  step.begin = begin;
  step.end = end;
  step.work = work;
  step.failed = failed;
  meter.OnStep(step);
}

void ExpectConserved(const DeviceAccount& account) {
  EXPECT_EQ(account.AttributedNs() + account.running_ns + account.overhead.device_ns +
                account.idle.device_ns,
            account.end - account.begin);
}

ByPhase<DeviceUse> ShareOf(const DeviceAccount& account, std::string_view model,
                           std::string_view tenant) {
  for (const DeviceAccount::Share& share : account.shares) {
    if (share.model == model && share.tenant == tenant) return share.use;
  }
  ADD_FAILURE() << tenant << " has no share in " << model;
  return {};
}

class CostMeterTest : public testing::Test {
 protected:
  CostMeterTest() {
    meter_.AddModel("a", ByTokens());
    meter_.AddModel("b", ByTokens());
    for (const RequestId request : {10, 11, 12}) meter_.Open(request, "acme");
  }

  DeviceAccount AccountAt(SteadyNs now) {
    const DeviceAccount account = meter_.Account(now);
    ExpectConserved(account);
    return account;
  }

  FakeEnergyCounter energy_;
  CostMeter meter_{Prices(), energy_, /*now=*/1000};
};

TEST_F(CostMeterTest, AScriptedDay) {
  EXPECT_EQ(AccountAt(1300).overhead.device_ns, 300);
  meter_.EndOverhead(1500);
  EXPECT_EQ(AccountAt(1550).idle.device_ns, 50);

  Step(meter_, "a", 1600, 1700, {Work(10, 1, Phase::kPrefill, 3), Work(11, 2, Phase::kDecode, 1)});
  // Of equal remainders the smallest sequence is rounded up, wherever it stands.
  Step(meter_, "b", 1710, 1720,
       {Work(12, 3, Phase::kScore, 1), Work(12, 1, Phase::kScore, 1),
        Work(99, 2, Phase::kDecode, 1)});
  Step(meter_, "a", 1720, 1731, {Work(10, 1, Phase::kDecode, 1), Work(11, 2, Phase::kDecode, 1)});

  meter_.OnStepBegin("a", 1800);
  EXPECT_EQ(AccountAt(1850).running_ns, 50);
  StepStats last;
  last.model = "a";
  last.begin = 1800;
  last.end = 1900;
  last.failed = true;
  const std::vector<SequenceWork> work = {Work(11, 2, Phase::kDecode, 1)};
  last.work = work;
  meter_.OnStep(last);

  const DeviceAccount account = AccountAt(2000);
  EXPECT_EQ(account.running_ns, 0);
  EXPECT_EQ(account.overhead.device_ns, 500);
  EXPECT_EQ(account.idle.device_ns, 100 + 10 + 69 + 100);
  EXPECT_EQ(ShareOf(account, "a", "acme")[Phase::kPrefill].device_ns, 75);
  EXPECT_EQ(ShareOf(account, "a", "acme")[Phase::kDecode].device_ns, 25 + 11 + 100);
  EXPECT_EQ(ShareOf(account, "b", "acme")[Phase::kScore].device_ns, 7);
  EXPECT_EQ(ShareOf(account, "b", "default")[Phase::kDecode].device_ns, 3);  // nobody opened it

  const ByPhase<DeviceUse> ten = meter_.Close(10);
  EXPECT_EQ(ten[Phase::kPrefill].device_ns, 75);
  EXPECT_EQ(ten[Phase::kDecode].device_ns, 6);
  EXPECT_EQ(ten[Phase::kScore].device_ns, 0);
  EXPECT_EQ(ten[Phase::kDecode].energy_uj, std::nullopt);
  EXPECT_EQ(ten[Phase::kDecode].cost, std::nullopt);
  EXPECT_EQ(meter_.Close(11)[Phase::kDecode].device_ns, 25 + 5 + 100);
  EXPECT_EQ(meter_.Close(12)[Phase::kScore].device_ns, 4 + 3);
}

TEST_F(CostMeterTest, AClosedRequestIsForgotten) {
  Step(meter_, "a", 1000, 1100, {Work(10, 1, Phase::kDecode, 1)});
  EXPECT_EQ(meter_.UseSoFar(10).device_ns, 100);
  EXPECT_EQ(meter_.Close(10)[Phase::kDecode].device_ns, 100);
  EXPECT_EQ(meter_.UseSoFar(10).device_ns, 0);
  EXPECT_EQ(meter_.Close(10)[Phase::kDecode].device_ns, 0);
  EXPECT_EQ(AccountAt(1100).AttributedNs(), 100);
}

TEST_F(CostMeterTest, EachTenantHasItsShareOfEachModel) {
  meter_.AddTenant("zoe");
  meter_.Open(20, "bob");
  Step(meter_, "a", 1000, 1100, {Work(10, 1, Phase::kDecode, 3), Work(20, 2, Phase::kDecode, 1)});
  Step(meter_, "b", 1100, 1110, {Work(20, 1, Phase::kScore, 1)});
  const DeviceAccount account = AccountAt(1110);
  std::vector<std::string> names;
  for (const DeviceAccount::Share& share : account.shares) {
    names.push_back(share.model + " " + share.tenant);
  }
  EXPECT_THAT(names, testing::ElementsAre("a acme", "a bob", "a zoe", "b acme", "b bob", "b zoe"));
  EXPECT_EQ(ShareOf(account, "a", "acme")[Phase::kDecode].device_ns, 75);
  EXPECT_EQ(ShareOf(account, "a", "bob")[Phase::kDecode].device_ns, 25);
  EXPECT_EQ(ShareOf(account, "b", "bob")[Phase::kScore].device_ns, 10);
  EXPECT_EQ(ShareOf(account, "b", "zoe"), ByPhase<DeviceUse>());
}

TEST_F(CostMeterTest, OverheadCanComeBack) {
  meter_.EndOverhead(1100);
  meter_.BeginOverhead(1200);  // another model is loaded, while steps go on
  Step(meter_, "a", 1300, 1400, {Work(10, 1, Phase::kDecode, 1)});
  meter_.EndOverhead(1500);
  const DeviceAccount account = AccountAt(1600);
  EXPECT_EQ(account.overhead.device_ns, 100 + 100 + 100);
  EXPECT_EQ(account.idle.device_ns, 100 + 100);
  EXPECT_EQ(account.AttributedNs(), 100);
}

TEST_F(CostMeterTest, AStepOfNobodyAndAModelWithoutCosts) {
  Step(meter_, "a", 1000, 1100, {});
  Step(meter_, "c", 1100, 1200, {Work(10, 1, Phase::kDecode, 9), Work(11, 2, Phase::kDecode, 1)});
  const DeviceAccount account = AccountAt(1200);
  EXPECT_EQ(account.overhead.device_ns, 100);
  EXPECT_EQ(ShareOf(account, "c", "acme")[Phase::kDecode].device_ns, 100);
  EXPECT_EQ(meter_.Close(10)[Phase::kDecode].device_ns, 50);
}

// A clock read before the lock was taken may be behind the last cut.
TEST_F(CostMeterTest, TimeNeverGoesBack) {
  meter_.EndOverhead(1500);
  EXPECT_EQ(AccountAt(2000).idle.device_ns, 500);
  const DeviceAccount earlier = AccountAt(1700);
  EXPECT_EQ(earlier.end, 2000);
  EXPECT_EQ(earlier.idle.device_ns, 500);
  // A scrape between the step's begin and the report of it keeps what it has shown.
  Step(meter_, "a", 1900, 2100, {Work(10, 1, Phase::kDecode, 1)});
  const DeviceAccount after = AccountAt(2100);
  EXPECT_EQ(after.idle.device_ns, 500);
  EXPECT_EQ(after.AttributedNs(), 100);
}

// Weights are read once for a step; alone a request pays for them all.
TEST_F(CostMeterTest, ARequestInAFullBatchPaysItsPart) {
  ModelCosts costs;
  costs.block_weight_bytes = 1'000'000;
  meter_.AddModel("a", CostModel(costs, {.bytes_per_second = 1e9, .flops_per_second = 1e12}));
  Step(meter_, "a", 1000, 1000 + kMillisecond, {Work(10, 1, Phase::kDecode, 1)});
  EXPECT_EQ(meter_.Close(10)[Phase::kDecode].device_ns, kMillisecond);
  std::vector<SequenceWork> batch = {Work(11, 1, Phase::kDecode, 1)};
  for (SequenceId id = 2; id <= 32; ++id) batch.push_back(Work(100 + id, id, Phase::kDecode, 1));
  Step(meter_, "a", 2 * kMillisecond, 3 * kMillisecond, batch);
  EXPECT_EQ(meter_.Close(11)[Phase::kDecode].device_ns, kMillisecond / 32);
}

TEST_F(CostMeterTest, ALongContextPaysMoreThanAShortOneBesideIt) {
  ModelCosts costs;
  costs.block_weight_bytes = 1'000'000;
  costs.kv_bytes_per_position = 1000;
  meter_.AddModel("a", CostModel(costs, {.bytes_per_second = 1e9, .flops_per_second = 1e12}));
  std::vector<SequenceWork> work = {Work(10, 1, Phase::kDecode, 1), Work(11, 2, Phase::kDecode, 1)};
  work[0].kv_len = 2999;
  work[1].kv_len = 499;  // and each writes one
  Step(meter_, "a", 2000, 2000 + 9 * kMillisecond, work);
  // 0.5 + 3 MB of 4.5 MB, and 0.5 + 0.5.
  EXPECT_EQ(meter_.Close(10)[Phase::kDecode].device_ns, 7 * kMillisecond);
  EXPECT_EQ(meter_.Close(11)[Phase::kDecode].device_ns, 2 * kMillisecond);
}

TEST(CostMeterEnergyTest, IsSharedOutLikeTheTimeItWasReadFor) {
  FakeEnergyCounter energy;
  energy.microjoules = 5000;
  const Prices prices = {.per_device_hour = 3'600'000'000, .per_kwh = 3'600'000'000};
  CostMeter meter(prices, energy, 0);
  meter.AddModel("a", ByTokens());
  meter.Open(10, "acme");
  energy.microjoules = 5000 + 700;
  meter.EndOverhead(7 * kMillisecond);
  // 12 ms of idleness are read before the step, 12 ms of step after it.
  energy.microjoules = 5700 + 1200;
  meter.OnStepBegin("a", 19 * kMillisecond);
  energy.microjoules = 6900 + 4000;
  StepStats step;
  step.model = "a";
  step.begin = 19 * kMillisecond;
  step.end = 31 * kMillisecond;
  const std::vector<SequenceWork> work = {Work(10, 1, Phase::kPrefill, 3),
                                          Work(11, 2, Phase::kDecode, 1)};
  step.work = work;
  meter.OnStep(step);
  const DeviceAccount account = meter.Account(31 * kMillisecond);
  EXPECT_EQ(account.energy_uj, 5900);
  EXPECT_EQ(account.overhead.energy_uj, 700);
  EXPECT_EQ(account.idle.energy_uj, 1200);
  const DeviceUse use = meter.Close(10)[Phase::kPrefill];
  EXPECT_EQ(use.energy_uj, 3000);
  // 9 ms and 3 mJ, at 3.60 USD an hour and 3.60 USD a kilowatt-hour: 1e-3 USD a second, 1e-6 a
  // joule.
  EXPECT_EQ(use.cost, 9'000'000 + 3000);
}

TEST(CostMeterEnergyTest, IsNotReadAtEveryStep) {
  FakeEnergyCounter energy;
  energy.microjoules = 0;
  CostMeter meter({}, energy, 0);
  meter.EndOverhead(0);
  energy.reads = 0;
  for (int64_t i = 0; i < 100; ++i) {
    energy.microjoules = 100 * (i + 1);
    Step(meter, "a", i * kMillisecond, (i + 1) * kMillisecond, {Work(i, 1, Phase::kDecode, 1)});
  }
  EXPECT_EQ(energy.reads, 10);
  const DeviceAccount account = meter.Account(100 * kMillisecond);
  EXPECT_EQ(account.energy_uj, 10'000);
  EXPECT_EQ(ShareOf(account, "a", "default")[Phase::kDecode].energy_uj, 10'000);
}

std::string TenantOf(RequestId request) { return std::string(1, "abc"[request % 3]); }

// Two models on a device, requests that come and go, failures, scrapes at any moment.
TEST(CostMeterPropertyTest, EveryNanosecondIsInOnePlace) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    RandomSource random(seed);
    FakeEnergyCounter energy;
    if (random.Chance(0.5f)) energy.microjoules = 123;
    SteadyNs now = random.Integer(0, 1000);
    const SteadyNs begin = now;
    CostMeter meter({}, energy, now);
    if (random.Chance(0.7f)) meter.AddModel("a", ByTokens());
    std::set<RequestId> open;
    int64_t closed_ns = 0;
    int64_t closed_uj = 0;
    const auto close = [&](RequestId request) {
      for (const DeviceUse& use : meter.Close(request).values) {
        closed_ns += use.device_ns;
        closed_uj += use.energy_uj.value_or(0);
      }
      open.erase(request);
    };
    const auto check = [&] {
      const DeviceAccount account = meter.Account(now);
      ExpectConserved(account);
      EXPECT_EQ(account.begin, begin);
      EXPECT_EQ(account.end, now);
    };
    const auto pass = [&] {
      now += random.Integer(0, random.Pick<int64_t>({1, 1000, 20 * kMillisecond}));
      if (energy.microjoules) *energy.microjoules += random.Integer(0, 1000);
      if (random.Chance(0.3f)) check();
    };
    RequestId next = 1;
    for (int i = 0; i < 200; ++i) {
      pass();
      if (random.Chance(0.05f)) meter.BeginOverhead(now);
      if (random.Chance(0.1f)) meter.EndOverhead(now);
      while (open.size() < 3 || random.Chance(0.3f)) {
        meter.Open(next, TenantOf(next));
        open.insert(next++);
      }
      std::vector<SequenceWork> work;
      SequenceId sequence = 1;
      for (const RequestId request : open) {
        for (int64_t n = random.Integer(0, 3); n > 0; --n) {
          work.push_back(Work(request, sequence++, random.Pick({Phase::kPrefill, Phase::kDecode}),
                              random.Integer(1, 50)));
        }
      }
      if (work.empty()) continue;
      StepStats step;
      step.model = random.Chance(0.5f) ? "a" : "b";
      step.begin = now;
      meter.OnStepBegin(step.model, now);
      pass();
      if (random.Chance(0.2f)) close(*open.begin());  // cancelled meanwhile; still charged
      pass();
      step.end = now;
      step.work = work;
      step.failed = random.Chance(0.1f);
      const int64_t open_work = static_cast<int64_t>(open.size());
      meter.OnStep(step);
      for (int64_t n = random.Integer(0, open_work); n > 1; --n) close(*open.begin());
    }
    while (!open.empty()) close(*open.begin());
    check();
    const DeviceAccount account = meter.Account(now);
    int64_t attributed_uj = 0;
    for (const DeviceAccount::Share& share : account.shares) {
      for (const DeviceUse& use : share.use.values) attributed_uj += use.energy_uj.value_or(0);
    }
    // What a request was charged after it was closed is not its own any more.
    EXPECT_LE(closed_ns, account.AttributedNs());
    EXPECT_GT(closed_ns, 0);
    EXPECT_EQ(account.energy_uj.has_value(), energy.microjoules.has_value());
    if (account.energy_uj) {
      EXPECT_EQ(attributed_uj + *account.overhead.energy_uj + *account.idle.energy_uj,
                *account.energy_uj);
      EXPECT_LE(closed_uj, attributed_uj);
    }
  }
}

TEST(CostMeterPropertyTest, RequestsAddUpToTheAttributedTime) {
  RandomSource random(7);
  FakeEnergyCounter energy;
  CostMeter meter({}, energy, 0);
  meter.AddModel("a", ByTokens());
  SteadyNs now = 0;
  std::map<RequestId, int64_t> open;
  std::map<std::string, int64_t> closed_ns;  // by tenant
  const auto close = [&](RequestId request) {
    for (const DeviceUse& use : meter.Close(request).values) {
      closed_ns[TenantOf(request)] += use.device_ns;
    }
  };
  for (RequestId next = 1; next <= 500; ++next) {
    meter.Open(next, TenantOf(next));
    open[next] = random.Integer(1, 20);  // steps
    now += random.Integer(0, 5);
    std::vector<SequenceWork> work;
    for (const auto& [request, steps] : open) {
      work.push_back(Work(request, request, Phase::kDecode, random.Integer(1, 9)));
    }
    const SteadyNs begin = now;
    now += random.Integer(1, 1'000'000);
    Step(meter, "a", begin, now, work);
    for (auto at = open.begin(); at != open.end();) {
      if (--at->second > 0) {
        ++at;
      } else {
        close(at->first);
        at = open.erase(at);
      }
    }
  }
  for (const auto& [request, steps] : open) close(request);
  std::map<std::string, int64_t> shares_ns;
  for (const DeviceAccount::Share& share : meter.Account(now).shares) {
    for (const DeviceUse& use : share.use.values) shares_ns[share.tenant] += use.device_ns;
  }
  EXPECT_EQ(closed_ns, shares_ns);
}

TEST(CostMeterThreadsTest, ScrapesDoNotDisturb) {
  NoEnergyCounter energy;
  CostMeter meter({}, energy, 0);
  meter.AddModel("a", ByTokens());
  std::thread scraper([&meter] {
    SteadyNs shown = 0;
    for (int64_t i = 0; i < 2000; ++i) {
      const DeviceAccount account = meter.Account(i);
      ExpectConserved(account);
      EXPECT_GE(account.idle.device_ns, shown);
      shown = account.idle.device_ns;
    }
  });
  for (int64_t i = 0; i < 2000; ++i) {
    meter.Open(i, "acme");
    Step(meter, "a", 10 * i, 10 * i + 5, {Work(i, 1, Phase::kDecode, 1)});
    meter.Close(i);
  }
  scraper.join();
  ExpectConserved(meter.Account(20'000));
}

}  // namespace
}  // namespace deltaserve
