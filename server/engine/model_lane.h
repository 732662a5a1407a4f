// One model of a device: its requests, scheduler, cache and engine, a step at a time.
#ifndef DELTASERVE_SERVER_ENGINE_MODEL_LANE_H_
#define DELTASERVE_SERVER_ENGINE_MODEL_LANE_H_

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/api/clock.h"
#include "server/api/model_info.h"
#include "server/api/observers.h"
#include "server/cache/cache_manager.h"
#include "server/engine/engine.h"
#include "server/engine/job.h"
#include "server/model/cost_model.h"
#include "server/scheduler/scheduler.h"

namespace deltaserve {

struct LaneOptions {
  std::string name;
  std::filesystem::path model_dir;
  std::optional<DType> dtype;                   // absent: as stored
  std::optional<int32_t> default_eos_token_id;  // where the configuration names none
  int64_t max_batch_tokens = 512;               // of one step; at least max_sequences
  int64_t max_sequences = 64;                   // that hold a slot at once
  // That pages are reserved for; 0: as many as the device's memory has room for.
  int64_t kv_cache_tokens = 64 * 512;
  int64_t max_continuations = 256;  // of a ScoreRequest
};

// Used on the engine thread only, but for info() and CheckFits(), which any thread may call.
class ModelLane {
 public:
  // Loads the model and reserves all memory it will ever use, which may be all that the device has:
  // LaneLoader loads several. The backend must outlive it.
  static absl::StatusOr<std::unique_ptr<ModelLane>> Load(Backend& backend,
                                                         const LaneOptions& options);

  const ModelInfo& info() const { return info_; }
  DType dtype() const { return engine_.decoder().dtype(); }
  // What its steps are made of.
  ModelCosts costs() const { return CostsOf(engine_.decoder().config(), dtype()); }
  int64_t cache_bytes() const { return engine_.cache_bytes(); }
  int64_t cache_tokens() const {
    return (cache_.geometry().num_pages - 1) * cache_.geometry().page_tokens;
  }

  // INVALID_ARGUMENT: the memory reserved could not hold the request even if it were alone.
  absl::Status CheckFits(const GenerateRequest& request) const;
  absl::Status CheckFits(const ScoreRequest& request) const;

  template <typename Request>
  void Accept(Request request, std::shared_ptr<TokenSink> sink, SteadyNs submitted_at) {
    jobs_.push_back(MakeJob(std::move(request), std::move(sink), Context(submitted_at)));
  }
  // These ignore requests that are not here.
  void Cancel(RequestId request, SteadyNs now);
  void EndForBudget(RequestId request, SteadyNs now);
  void StopSample(RequestId request, int32_t sample, SteadyNs now);
  // Ends what is past its deadline, whether it runs or waits.
  void Expire(SteadyNs now);
  void EndAll(const absl::Status& status, SteadyNs now);

  int64_t num_requests() const { return jobs_.size(); }
  int64_t num_unstarted() const;
  ModelLoad load() const;

  // Plans and runs one step. False: there was nothing to run. An error is a fault of the device;
  // nothing can be run any more, and EndAll is due.
  absl::StatusOr<bool> RunStep(const Clock& clock, StepObserver& observer);

 private:
  friend class LaneLoader;
  ModelLane(Engine engine, StepBatch batch, const CacheGeometry& geometry, ModelInfo info,
            const LaneOptions& options, int64_t max_logit_bias);

  struct Place {
    Job* job = nullptr;
    Sequence* sequence = nullptr;
  };

  JobContext Context(SteadyNs submitted_at);
  int64_t PagesFor(int64_t num_tokens) const;
  absl::Status CheckForks(int64_t shared_tokens, int64_t longest) const;
  // What the scheduler may choose from; fills places_.
  std::vector<SequenceInfo> Candidates();
  std::optional<SequenceInfo> Describe(const Sequence& sequence) const;
  void Preempt(Sequence& sequence);
  absl::Status Admit(Sequence& sequence, CopyList& slot_copies);
  // What observers hear of the plan; fills work_, but for the rows of logits.
  StepStats StatsOf(const StepPlan& plan, SteadyNs begin);
  // Pages and slots for the plan, then the batch.
  absl::Status Prepare(const StepPlan& plan, SteadyNs now);
  absl::StatusOr<StepResults> Compute(const StepPlan& plan, SteadyNs now, bool wants_gates);
  GateValues GatesOf(const StepResults& results) const;
  void Commit(const StepPlan& plan, const StepResults& results, SteadyNs now);
  // Gives back what ended sequences hold, and ends jobs that are finished.
  void Sweep(SteadyNs now);
  void SweepSequences(Job& job);
  void End(Job& job, absl::Status status, SteadyNs now);
  Job* Find(RequestId request);

  Engine engine_;
  CacheManager cache_;
  const ModelInfo info_;
  const int64_t token_budget_;
  const int64_t max_continuations_;
  const int64_t max_logit_bias_;  // entries of one request
  Scheduler scheduler_;
  StepBatch batch_;
  std::vector<SequenceWork> work_;  // of the step under way, a chunk each
  SequenceId last_sequence_id_ = 0;
  std::deque<std::unique_ptr<Job>> jobs_;  // oldest first
  absl::flat_hash_map<SequenceId, Place> places_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_MODEL_LANE_H_
