// Promise 12: the device's time attributed to requests, overhead and idleness add up to its wall
// time, exactly; cancelled, preempted and failed work is charged where it was spent.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/api/tenant.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/metered_queue.h"
#include "tests/support/failing_backend.h"
#include "tests/support/random_source.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

// Makes steps and what lies between them take some odd time.
class RandomTicker final : public StepObserver {
 public:
  RandomTicker(ManualClock& clock, uint64_t seed) : clock_(clock), random_(seed) {}
  void OnStepBegin(std::string_view, SteadyNs) override {
    clock_.Advance(random_.Integer(1, 5'000'000));
  }
  void OnStep(const StepStats&) override { clock_.Advance(random_.Integer(0, 99'999)); }
  void OnLoad(const ModelLoad&) override {}

 private:
  ManualClock& clock_;
  RandomSource random_;
};

// Two models on a device that fails at last, with a cache too small for what runs.
class MeteredEngine {
 public:
  explicit MeteredEngine(uint64_t seed)
      : meter_({}, energy_, ManualClock::kStart),
        backend_(new FailingBackend()),
        engine_(std::unique_ptr<Backend>(backend_), {Tight("ddl_tc_ec"), Tight("additive")}),
        ticker_(engine_.clock(), seed),
        queue_(engine_.loop(), meter_) {
    for (size_t i = 0; i < 2; ++i) {
      meter_.AddModel(engine_.info(i).name, CostModel(engine_.costs(i), {1e10, 1e11}));
    }
    engine_.observer().TellAlso(&meter_);
    engine_.observer().TellAlso(&ticker_);
    engine_.clock().Advance(12'345);  // loading
    meter_.EndOverhead(engine_.clock().Now());
  }

  TestEngine& engine() { return engine_; }
  FailingBackend& backend() { return *backend_; }
  DeviceAccount Account() { return meter_.Account(engine_.clock().Now()); }

  template <typename Request>
  std::shared_ptr<RecordingSink> Submit(Request request, RecordingSink::TokenHook hook = nullptr) {
    auto sink = std::make_shared<RecordingSink>(std::move(hook));
    EXPECT_TRUE(queue_.Submit(std::move(request), sink).ok());
    return sink;
  }

 private:
  static LaneOptions Tight(const std::string& fixture) {
    LaneOptions lane = GoldenLane(fixture);
    lane.kv_cache_tokens = 112;
    lane.max_batch_tokens = 24;
    return lane;
  }

  NoEnergyCounter energy_;
  CostMeter meter_;
  FailingBackend* backend_;
  TestEngine engine_;
  RandomTicker ticker_;
  MeteredQueue queue_;
};

std::vector<int32_t> RandomTokens(RandomSource& random, int64_t most) {
  std::vector<int32_t> tokens(random.Integer(1, most));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Integer(0, 498));
  return tokens;
}

std::shared_ptr<const Tenant> TenantOf(RequestId id) {
  return std::make_shared<Tenant>(Tenant{.name = id % 3 == 0 ? "acme" : "bob"});
}

// Requests of all kinds and ends, in both models, of two tenants.
std::vector<std::shared_ptr<RecordingSink>> SubmitMany(MeteredEngine& metered, uint64_t seed) {
  RandomSource random(seed);
  TestEngine& engine = metered.engine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (RequestId id = 1; id <= 60; ++id) {
    const auto submit = [&](auto request, RecordingSink::TokenHook hook) {
      request.id = id;
      request.model = engine.info(id % 2).name;
      request.tenant = TenantOf(id);
      if (random.Chance(0.1f)) request.deadline = engine.clock().Now() + 50'000'000;
      sinks.push_back(metered.Submit(std::move(request), std::move(hook)));
    };
    if (random.Chance(0.3f)) {
      ScoreRequest score = SequenceRequest(RandomTokens(random, 40));
      for (int64_t left = random.Integer(0, 4); left > 0; --left) {
        score.continuations.push_back(RandomTokens(random, 12));
      }
      submit(score, nullptr);
      continue;
    }
    GenerateRequest request = SampledRequest(RandomTokens(random, 50), random.Integer(1, 20), id);
    request.n = static_cast<int32_t>(random.Integer(1, 3));
    submit(request, [&engine, id, cancel = random.Chance(0.2f), stop = random.Chance(0.2f)](
                        int32_t sample, int64_t num_tokens) {
      if (cancel && num_tokens == 3) engine.loop().Cancel(id);
      if (stop && num_tokens == 2) engine.loop().StopSample(id, sample);
    });
  }
  return sinks;
}

TEST(Promise12, EveryNanosecondIsAttributedOverheadOrIdle) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    MeteredEngine metered(seed);
    TestEngine& engine = metered.engine();
    auto sinks = SubmitMany(metered, seed);
    engine.Finish();
    // One that fails with the device.
    GenerateRequest doomed = SampledRequest({1, 2, 3}, 50, seed);
    doomed.id = 1000;
    doomed.model = engine.info().name;
    engine.clock().Advance(777);  // nobody is there
    sinks.push_back(metered.Submit(doomed, [&metered](int32_t, int64_t num_tokens) {
      if (num_tokens == 4) metered.backend().FailAfter(1);
    }));
    engine.Finish();
    engine.clock().Advance(1);

    std::map<absl::StatusCode, int> ends;
    int64_t of_requests = 0;
    std::map<std::string, int64_t> of_tenants;
    for (size_t i = 0; i < sinks.size(); ++i) {
      ++ends[sinks[i]->status().code()];
      const int64_t device_ns = sinks[i]->usage().TotalDeviceUse().device_ns;
      of_requests += device_ns;
      const bool is_doomed = i + 1 == sinks.size();
      of_tenants[is_doomed ? "default" : TenantOf(i + 1)->name] += device_ns;
    }
    EXPECT_EQ(of_tenants.size(), 3u);
    EXPECT_GT(ends[absl::StatusCode::kOk], 0);
    EXPECT_GT(ends[absl::StatusCode::kCancelled], 0);
    EXPECT_GT(ends[absl::StatusCode::kDeadlineExceeded], 0);
    EXPECT_EQ(ends[absl::StatusCode::kUnavailable], 1);
    EXPECT_GT(engine.observer().num_preemptions(), 0);

    const DeviceAccount account = metered.Account();
    EXPECT_EQ(account.running_ns, 0);
    EXPECT_EQ(account.overhead.device_ns, 12'345);
    EXPECT_EQ(of_requests, account.AttributedNs());
    EXPECT_EQ(of_requests + account.overhead.device_ns + account.idle.device_ns,
              engine.clock().Now() - ManualClock::kStart);
    std::map<std::string, int64_t> of_shares;
    for (const DeviceAccount::Share& share : account.shares) {
      for (const DeviceUse& use : share.use.values) of_shares[share.tenant] += use.device_ns;
    }
    EXPECT_EQ(of_tenants, of_shares);
    // The step that failed is the doomed one's, too.
    const auto steps = engine.observer().steps();
    EXPECT_TRUE(steps.back().stats.failed);
    int64_t of_doomed = 0;
    for (const auto& step : steps) {
      for (const SequenceWork& work : step.work) {
        if (work.request == doomed.id) of_doomed += step.stats.end - step.stats.begin;
      }
    }
    EXPECT_EQ(sinks.back()->usage().TotalDeviceUse().device_ns, of_doomed);
  }
}

// A preempted request pays for what is computed anew, and nobody else does.
TEST(Promise12, PreemptedWorkIsChargedToItsRequest) {
  MeteredEngine metered(1);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (RequestId id = 1; id <= 6; ++id) {
    GenerateRequest request = SampledRequest(std::vector<int32_t>(20, 7), 30, id);
    request.id = id;
    request.model = "additive";
    sinks.push_back(metered.Submit(request));
  }
  metered.engine().Finish();
  ASSERT_GT(metered.engine().observer().num_preemptions(), 0);
  std::map<RequestId, ByPhase<int64_t>> tokens;
  for (const auto& step : metered.engine().observer().steps()) {
    for (const SequenceWork& work : step.work) tokens[work.request][work.phase] += work.tokens;
  }
  int64_t anew = 0;
  for (RequestId id = 1; id <= 6; ++id) {
    const ByPhase<DeviceUse> device = sinks[id - 1]->usage().device;
    EXPECT_GT(device[Phase::kPrefill].device_ns, 0);
    EXPECT_GT(device[Phase::kDecode].device_ns, 0);
    EXPECT_EQ(device[Phase::kScore].device_ns, 0);
    anew += tokens[id][Phase::kPrefill] - 20;
  }
  EXPECT_GT(anew, 0);
}

// Whoever shares a step pays for as much of it as its bytes and FLOPs say; a long context pays more
// than a short one beside it, and who is alone pays for everything.
TEST(Promise12, ChargesMoveAsBytesAndFlopsSay) {
  MeteredEngine metered(2);
  TestEngine& engine = metered.engine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  const auto submit = [&](int64_t prompt_tokens) {
    GenerateRequest request = SampledRequest(std::vector<int32_t>(prompt_tokens, 7), 12, 1);
    request.id = sinks.size() + 1;
    request.model = engine.info(0).name;
    sinks.push_back(metered.Submit(request));
  };
  constexpr RequestId kLong = 1, kAlone = 5;
  for (const int64_t prompt_tokens : {40, 4, 4, 4}) submit(prompt_tokens);
  engine.Finish();
  submit(4);
  engine.Finish();

  const CostModel cost(engine.costs(0), {1e10, 1e11});
  std::map<RequestId, ByPhase<double>> expected;
  std::map<RequestId, int> steps;
  int shared_by_all = 0;
  for (const auto& step : engine.observer().steps()) {
    const double elapsed = static_cast<double>(step.stats.end - step.stats.begin);
    const std::vector<int64_t> weights = cost.Picoseconds(step.work);
    double sum = 0;
    for (const int64_t weight : weights) sum += static_cast<double>(weight);
    for (size_t i = 0; i < step.work.size(); ++i) {
      const SequenceWork& work = step.work[i];
      expected[work.request][work.phase] += elapsed * static_cast<double>(weights[i]) / sum;
      ++steps[work.request];
    }
    const bool all_decode = step.stats.sequences == 4 && step.stats.prefill_tokens == 0;
    if (!all_decode) continue;
    ++shared_by_all;
    for (size_t i = 0; i < step.work.size(); ++i) {
      for (size_t j = 0; j < step.work.size(); ++j) {
        EXPECT_EQ(step.work[i].kv_len > step.work[j].kv_len, weights[i] > weights[j]);
      }
    }
  }
  EXPECT_GT(shared_by_all, 5);
  for (RequestId id = kLong; id <= kAlone; ++id) {
    for (const Phase phase : kPhases) {  // each step rounds to whole nanoseconds
      EXPECT_NEAR(static_cast<double>(sinks[id - 1]->usage().device[phase].device_ns),
                  expected[id][phase], steps[id])
          << id << " " << Name(phase);
    }
  }
  int64_t alone_ns = 0;
  for (const auto& step : engine.observer().steps()) {
    if (step.work[0].request == kAlone) alone_ns += step.stats.end - step.stats.begin;
  }
  EXPECT_EQ(sinks[kAlone - 1]->usage().TotalDeviceUse().device_ns, alone_ns);
}

}  // namespace
}  // namespace deltaserve
