// An accepted request at work: what it wants of a step, and what it makes of the results.
#ifndef DELTASERVE_SERVER_ENGINE_JOB_H_
#define DELTASERVE_SERVER_ENGINE_JOB_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/api/request.h"
#include "server/api/token_sink.h"
#include "server/engine/engine.h"
#include "server/engine/sequence.h"
#include "server/engine/step_batch.h"

namespace deltaserve {

// One kind of request is one subclass. Used on the engine thread only; knows neither cache nor
// scheduler.
class Job {
 public:
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  RequestId id() const { return id_; }
  SteadyNs deadline() const { return deadline_; }
  // In the order of their claims: a parent before its forks. References stay valid.
  std::deque<Sequence>& sequences() { return sequences_; }
  bool started() const { return started_at_ != 0; }
  // Every sequence has ended.
  bool finished() const;
  // Not OK: the results of a step could not be used; the job is to end with this.
  const absl::Status& failure() const { return failure_; }

  // The step computes positions [first, first + count) of `sequence`, from `batch_row` on: adds the
  // logits, samples and targets that are wanted of it.
  virtual void Want(Sequence& sequence, int64_t first, int64_t count, int64_t batch_row,
                    StepBatch& batch) = 0;
  // The step is done; called for each chunk of the last Want calls, in the same order.
  // `sequence.num_computed` has advanced. May append sequences, and marks those that are done.
  virtual void Take(Sequence& sequence, const StepResults& results, SteadyNs now) = 0;
  // What positions [first, first + count) of `sequence` are computed for.
  virtual Phase PhaseOf(const Sequence& sequence, int64_t first, int64_t count) const = 0;
  // Ends with what there is; see RequestQueue.
  virtual void EndForBudget() = 0;
  // Ends one sample with kStop.
  virtual void StopSample(int32_t sample) = 0;

  void Start(SteadyNs now);
  // Tells the sink; the last thing that happens to a job.
  void Finish(absl::Status status, SteadyNs now);

 protected:
  Job(RequestId id, SteadyNs deadline, SteadyNs submitted_at, std::shared_ptr<TokenSink> sink,
      std::function<SequenceId()> next_sequence_id)
      : id_(id),
        deadline_(deadline),
        submitted_at_(submitted_at),
        sink_(std::move(sink)),
        next_sequence_id_(std::move(next_sequence_id)) {}

  Sequence& AddSequence(std::vector<int32_t> tokens);
  // A fork that shares the parent's first `shared_tokens`.
  Sequence& AddFork(Sequence& parent, std::vector<int32_t> tokens, int64_t shared_tokens);
  TokenSink& sink() { return *sink_; }
  void NoteFirstToken(SteadyNs now);

  Usage usage_;
  // What a ScoreRequest gets at the end, if it ends well.
  std::unique_ptr<ScoreResult> score_;
  absl::Status failure_;

 private:
  const RequestId id_;
  const SteadyNs deadline_;
  const SteadyNs submitted_at_;
  SteadyNs started_at_ = 0;
  std::shared_ptr<TokenSink> sink_;
  std::function<SequenceId()> next_sequence_id_;
  std::deque<Sequence> sequences_;
};

struct JobContext {
  SteadyNs submitted_at = 0;
  std::function<SequenceId()> next_sequence_id;
  std::optional<int32_t> eos_token_id;
  int64_t num_layers = 0;
  int64_t value_channels = 1;
};

std::unique_ptr<Job> MakeJob(GenerateRequest request, std::shared_ptr<TokenSink> sink,
                             const JobContext& context);
std::unique_ptr<Job> MakeJob(ScoreRequest request, std::shared_ptr<TokenSink> sink,
                             const JobContext& context);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_JOB_H_
