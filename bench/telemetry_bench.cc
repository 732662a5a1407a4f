#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/cost_bench.h"
#include "bench/random_models.h"
#include "bench/stats.h"
#include "bench/stopwatch.h"
#include "bench/table.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/api/clock.h"
#include "server/engine/model_lane.h"
#include "server/model/assign_or_return.h"
#include "server/model/calibration.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/gate_metrics.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/vllm_metrics.h"

namespace deltaserve::bench {
namespace {

constexpr int64_t kPromptTokens = 96;
constexpr int64_t kTriplets = 20;  // of a repeat
constexpr int64_t kModes = 3;

// Reports its tokens as the service does, where that is switched on.
class Caller final : public TokenSink {
 public:
  Caller(const std::string& model, RequestObserver* const& observer)
      : model_(model), observer_(observer) {}

  void OnTokens(int32_t, absl::Span<const SampledToken> tokens) override {
    if (observer_ == nullptr) return;
    observer_->OnInterTokenLatency(model_, 1'000'000, static_cast<int64_t>(tokens.size()));
  }
  void OnSampleDone(int32_t, FinishReason) override {}
  void OnDone(RequestOutcome) override {}

 private:
  const std::string& model_;
  RequestObserver* const& observer_;
};

// How long others take to hear of a step.
class TimedObservers final : public StepObserver {
 public:
  explicit TimedObservers(std::vector<StepObserver*> observers) : all_(std::move(observers)) {}

  void OnStepBegin(std::string_view model, SteadyNs begin) override {
    Timed([&] { all_.OnStepBegin(model, begin); });
  }
  bool WantsGates(std::string_view model) override {
    bool wanted = false;
    Timed([&] { wanted = all_.WantsGates(model); });
    return wanted;
  }
  void OnStep(const StepStats& step) override {
    Timed([&] { all_.OnStep(step); });
  }
  void OnLoad(const ModelLoad& load) override {
    Timed([&] { all_.OnLoad(load); });
  }

  // Since it was last asked.
  double TakeSeconds() { return std::exchange(seconds_, 0); }

 private:
  template <typename Call>
  void Timed(Call call) {
    const Stopwatch stopwatch;
    call();
    seconds_ += stopwatch.Seconds();
  }

  StepObservers all_;
  double seconds_ = 0;
};

// Steps of one model's full batch, each under other observers.
class TelemetryBench {
 public:
  static absl::StatusOr<std::unique_ptr<TelemetryBench>> Make(const Options& options,
                                                              ResidualKind kind, Backend& backend) {
    LaneOptions lane;
    lane.name = Name(kind);
    ASSIGN_OR_RETURN(lane.model_dir,
                     RandomModel(options.models_dir, options.shape, kind, options.dtype));
    const int64_t batch = *std::max_element(options.batches.begin(), options.batches.end());
    lane.max_sequences = batch;
    lane.max_batch_tokens = std::max<int64_t>(512, batch);
    // Rounded up to pages, and with room for the last step's.
    lane.kv_cache_tokens = batch * (kPromptTokens + kModes * kTriplets + batch + 64);
    lane.dtype = options.dtype;
    auto bench = std::unique_ptr<TelemetryBench>(new TelemetryBench(lane.name, batch));
    ASSIGN_OR_RETURN(bench->lane_, ModelLane::Load(backend, lane));
    ASSIGN_OR_RETURN(const DevicePeaks peaks, MeasurePeaks(backend, options.dtype, bench->clock_));
    bench->meter_.AddModel(lane.name, CostModel(bench->lane_->costs(), peaks));
    bench->meter_.EndOverhead(bench->clock_.Now());
    return bench;
  }

  // A new batch, decoded for a while: without observers, with them, and with gates, by turns.
  absl::Status Repeat() {
    for (int64_t i = 0; i < batch_; ++i) {
      GenerateRequest request;
      request.id = ++last_id_;
      request.model = name_;
      for (int64_t t = 0; t < kPromptTokens; ++t) {
        request.prompt.push_back(static_cast<int32_t>((7 * request.id + 13 * t) % 256));
      }
      request.sampling.temperature = 0;
      request.max_tokens = kModes * kTriplets + batch_ + 32;  // some while others are prefilled
      request.ignore_eos = true;
      meter_.Open(request.id, "default");
      lane_->Accept(std::move(request), std::make_shared<Caller>(name_, request_observer_),
                    clock_.Now());
    }
    do {
      RETURN_IF_ERROR(Step(nobody_).status());
    } while (lane_->load().requests_waiting > 0 || last_.prefill_tokens > 0);
    for (int64_t i = 0; i < kTriplets; ++i) {
      // No mode always comes first.
      double seconds[kModes] = {};
      for (int64_t m = 0; m < kModes; ++m) {
        const int64_t mode = (i + m) % kModes;
        request_observer_ = mode == 0 ? nullptr : &requests_;
        ASSIGN_OR_RETURN(seconds[mode],
                         Step(mode == 0   ? static_cast<StepObserver&>(nobody_)
                              : mode == 1 ? static_cast<StepObserver&>(server_)
                                          : static_cast<StepObserver&>(with_gates_)));
        if (last_.decode_tokens != batch_) return absl::InternalError("the batch is not full");
      }
      without_.push_back(seconds[0]);
      heard_.push_back(server_.TakeSeconds());
      heard_gates_.push_back(with_gates_.TakeSeconds());
      observed_.push_back(seconds[1] - seconds[0]);
      sampled_.push_back(seconds[2] - seconds[1]);
    }
    request_observer_ = nullptr;
    for (RequestId id = last_id_ - batch_ + 1; id <= last_id_; ++id) {
      lane_->Cancel(id, clock_.Now());
      meter_.Close(id);
    }
    return absl::OkStatus();
  }

  void AddTo(Table& table) const {
    const double step = Median(without_);
    const double observers = Median(heard_);
    const double gates = std::max(0.0, Median(heard_gates_) - observers);
    const double share = observers / step;
    const double gates_share = gates / GateMetrics::kPeriod / step;
    table.Add({name_, absl::StrCat(batch_), absl::StrCat(without_.size()),
               absl::StrFormat("%.2f", 1e3 * step), absl::StrFormat("%.1f", 1e6 * observers),
               absl::StrFormat("%.3f %%", 100 * share), absl::StrFormat("%.1f", 1e6 * gates),
               absl::StrFormat("%.3f %%", 100 * gates_share),
               absl::StrFormat("%+.2f %%", 100 * Median(observed_) / step),
               absl::StrFormat("%+.3f %%", 100 * Median(sampled_) / GateMetrics::kPeriod / step)});
  }

 private:
  // Of the last step, so that what it was can be told.
  class Nobody final : public StepObserver {
   public:
    explicit Nobody(StepStats& last) : last_(last) {}
    void OnStep(const StepStats& step) override { last_ = step; }
    void OnLoad(const ModelLoad&) override {}

   private:
    StepStats& last_;
  };

  TelemetryBench(std::string name, int64_t batch) : name_(std::move(name)), batch_(batch) {}

  absl::StatusOr<double> Step(StepObserver& observer) {
    const Stopwatch stopwatch;
    ASSIGN_OR_RETURN(const bool ran, lane_->RunStep(clock_, observer));
    if (!ran) return absl::InternalError("there is nothing to run");
    return stopwatch.Seconds();
  }

  const std::string name_;
  const int64_t batch_;
  const SteadyClock clock_;
  std::unique_ptr<ModelLane> lane_;
  RequestId last_id_ = 0;
  StepStats last_;
  RequestObserver* request_observer_ = nullptr;

  NoEnergyCounter energy_;
  CostMeter meter_{Prices(), energy_, clock_.Now()};
  Metrics metrics_{{name_}};
  VllmMetrics vllm_{{name_}};
  GateMetrics gates_{*metrics_.registry(), {name_}, /*period=*/1};
  Nobody nobody_{last_};
  TimedObservers server_{{&nobody_, &meter_, &metrics_, &vllm_}};
  TimedObservers with_gates_{{&nobody_, &meter_, &metrics_, &vllm_, &gates_}};
  RequestObservers requests_{{&metrics_, &vllm_}};

  // Seconds; of a step without observers, and what is added, step by step.
  std::vector<double> without_, observed_, sampled_;
  std::vector<double> heard_, heard_gates_;  // what observers took of it themselves
};

}  // namespace

absl::Status RunTelemetryBench(const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                   MakeCpuBackend({.num_threads = options.threads}));
  Table table({"residual", "batch", "steps", "step ms", "observers µs", "of a step", "gates µs",
               absl::StrCat("of ", GateMetrics::kPeriod, " steps"), "step with observers",
               "with gates"});
  for (const ResidualKind kind : options.residuals) {
    ASSIGN_OR_RETURN(const auto bench, TelemetryBench::Make(options, kind, *backend));
    for (int round = 0; round < options.repeats; ++round) RETURN_IF_ERROR(bench->Repeat());
    bench->AddTo(table);
  }
  std::printf("Telemetry on the engine's thread, in a decode step\n\n%s\n",
              table.ToString().c_str());
  return absl::OkStatus();
}

}  // namespace deltaserve::bench
