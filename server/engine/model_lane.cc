#include "server/engine/model_lane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/lane_loader.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::StatusOr<std::unique_ptr<ModelLane>> ModelLane::Load(Backend& backend,
                                                           const LaneOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LaneLoader> loader, LaneLoader::Load(backend, options));
  return loader->Finish(backend.memory().value_or(MemoryBudget()).free);
}

ModelLane::ModelLane(Engine engine, StepBatch batch, const CacheGeometry& geometry, ModelInfo info,
                     const LaneOptions& options, int64_t max_logit_bias)
    : engine_(std::move(engine)),
      cache_(geometry),
      info_(std::move(info)),
      token_budget_(options.max_batch_tokens),
      max_continuations_(options.max_continuations),
      max_logit_bias_(max_logit_bias),
      batch_(std::move(batch)) {}

int64_t ModelLane::PagesFor(int64_t num_tokens) const {
  const int64_t page_tokens = cache_.geometry().page_tokens;
  return (num_tokens + page_tokens - 1) / page_tokens;
}

absl::Status ModelLane::CheckForks(int64_t shared_tokens, int64_t longest) const {
  if (info_.max_sequences < 2) {
    return absl::InvalidArgumentError(
        "several samples or continuations need at least two sequences at once; this server runs 1");
  }
  // The one they share, and the longest fork with a copy of the last shared page.
  const int64_t whole_shared_pages = shared_tokens / cache_.geometry().page_tokens;
  const int64_t needed = PagesFor(shared_tokens) + PagesFor(longest) - whole_shared_pages;
  const int64_t available = cache_.geometry().num_pages - 1;
  if (needed <= available) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the request needs ", needed, " pages of cache; this server has ", available));
}

absl::Status ModelLane::CheckFits(const GenerateRequest& request) const {
  const int64_t longest = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  if (longest > info_.max_sequence_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt of ", request.prompt.size(), " tokens + max_tokens ",
                     request.max_tokens, " exceeds ", info_.max_sequence_tokens, " tokens"));
  }
  if (static_cast<int64_t>(request.sampling.logit_bias.size()) > max_logit_bias_) {
    return absl::InvalidArgumentError(absl::StrCat("logit_bias has ",
                                                   request.sampling.logit_bias.size(),
                                                   " entries; the limit is ", max_logit_bias_));
  }
  return request.n == 1 ? absl::OkStatus() : CheckForks(request.prompt.size(), longest);
}

absl::Status ModelLane::CheckFits(const ScoreRequest& request) const {
  if (static_cast<int64_t>(request.continuations.size()) > max_continuations_) {
    return absl::InvalidArgumentError(absl::StrCat(
        request.continuations.size(), " continuations; the limit is ", max_continuations_));
  }
  size_t longest = 0;
  for (const auto& continuation : request.continuations) {
    longest = std::max(longest, continuation.size());
  }
  const int64_t tokens = static_cast<int64_t>(request.context.size() + longest);
  if (tokens > info_.max_sequence_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("context and longest continuation have ", tokens,
                                                   " tokens; the limit is ",
                                                   info_.max_sequence_tokens));
  }
  return longest <= 1 ? absl::OkStatus() : CheckForks(request.context.size(), tokens);
}

JobContext ModelLane::Context(SteadyNs submitted_at) {
  JobContext context;
  context.submitted_at = submitted_at;
  context.next_sequence_id = [this] { return ++last_sequence_id_; };
  context.eos_token_id = info_.eos_token_id;
  context.num_layers = info_.num_layers;
  context.value_channels = info_.value_channels;
  return context;
}

Job* ModelLane::Find(RequestId request) {
  for (const auto& job : jobs_) {
    if (job->id() == request) return job.get();
  }
  return nullptr;
}

void ModelLane::Cancel(RequestId request, SteadyNs now) {
  if (Job* job = Find(request)) End(*job, absl::CancelledError("cancelled by the caller"), now);
}

void ModelLane::EndForBudget(RequestId request, SteadyNs now) {
  if (Job* job = Find(request)) {
    job->EndForBudget();
    Sweep(now);
  }
}

void ModelLane::StopSample(RequestId request, int32_t sample, SteadyNs now) {
  if (Job* job = Find(request)) {
    job->StopSample(sample);
    Sweep(now);
  }
}

void ModelLane::Expire(SteadyNs now) {
  for (size_t i = 0; i < jobs_.size();) {
    Job& job = *jobs_[i];
    if (job.deadline() <= now) {
      End(job,
          absl::DeadlineExceededError(job.started() ? "deadline passed while running"
                                                    : "deadline passed while queued"),
          now);
    } else {
      ++i;
    }
  }
}

void ModelLane::EndAll(const absl::Status& status, SteadyNs now) {
  while (!jobs_.empty()) End(*jobs_.front(), status, now);
}

void ModelLane::End(Job& job, absl::Status status, SteadyNs now) {
  for (Sequence& sequence : job.sequences()) {
    if (sequence.running) cache_.Release(sequence.id);
  }
  const auto place = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const auto& held) { return held.get() == &job; });
  const std::unique_ptr<Job> ended = std::move(*place);
  jobs_.erase(place);
  ended->Finish(std::move(status), now);
}

int64_t ModelLane::num_unstarted() const {
  return std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return !job->started(); });
}

ModelLoad ModelLane::load() const {
  ModelLoad load;
  load.model = info_.name;
  for (const auto& job : jobs_) {
    const bool runs = std::any_of(job->sequences().begin(), job->sequences().end(),
                                  [](const Sequence& sequence) { return sequence.running; });
    ++(runs ? load.requests_running : load.requests_waiting);
  }
  load.pages_used = cache_.used_pages();
  load.pages_free = cache_.free_pages();
  load.slots_used = cache_.used_slots();
  load.slots_free = cache_.free_slots();
  return load;
}

std::optional<SequenceInfo> ModelLane::Describe(const Sequence& sequence) const {
  SequenceInfo info;
  info.id = sequence.id;
  info.num_tokens = sequence.num_tokens;
  info.running = sequence.running;
  if (sequence.running) {
    info.num_computed = sequence.num_computed;
    info.pages_held = cache_.Pages(sequence.id).size();
    info.pages_freed = cache_.ExclusivePages(sequence.id);
    info.next_page_shared = cache_.IsShared(sequence.id, sequence.num_computed);
  } else if (sequence.waits_to_fork()) {
    const Sequence& parent = *places_.at(sequence.parent).sequence;
    if (!parent.running || !parent.computed()) return std::nullopt;
    info.num_computed = sequence.shared_tokens;
    info.pages_held = PagesFor(sequence.shared_tokens);
    info.next_page_shared = sequence.shared_tokens % cache_.geometry().page_tokens != 0;
  }
  return info;
}

std::vector<SequenceInfo> ModelLane::Candidates() {
  std::vector<SequenceInfo> candidates;
  places_.clear();
  for (const auto& job : jobs_) {
    for (Sequence& sequence : job->sequences()) {
      if (sequence.done) continue;
      places_[sequence.id] = {job.get(), &sequence};
      if (const auto info = Describe(sequence)) candidates.push_back(*info);
    }
  }
  return candidates;
}

void ModelLane::Preempt(Sequence& sequence) {
  cache_.Release(sequence.id);
  sequence.running = false;
  sequence.num_computed = 0;
  sequence.last_id_on_device = false;
}

absl::Status ModelLane::Admit(Sequence& sequence, CopyList& slot_copies) {
  bool admitted = false;
  if (sequence.waits_to_fork()) {
    admitted = cache_.Fork(sequence.parent, sequence.id, sequence.shared_tokens, slot_copies);
    sequence.num_computed = sequence.shared_tokens;
  } else {
    admitted = cache_.Admit(sequence.id);
  }
  if (!admitted)
    return absl::InternalError("the plan admits a sequence for which there is no slot");
  sequence.running = true;
  return absl::OkStatus();
}

StepStats ModelLane::StatsOf(const StepPlan& plan, SteadyNs begin) {
  work_.clear();
  StepStats stats;
  stats.model = info_.name;
  stats.begin = begin;
  stats.sequences = plan.chunks.size();
  stats.preemptions = plan.preempt.size();
  for (const StepChunk& chunk : plan.chunks) {
    const auto& [job, sequence] = places_.at(chunk.sequence);
    SequenceWork work;
    work.request = job->id();
    work.sequence = chunk.sequence;
    work.phase = job->PhaseOf(*sequence, chunk.first, chunk.count);
    work.tokens = chunk.count;
    work.kv_len = chunk.first + chunk.count;
    work_.push_back(work);
    (work.phase == Phase::kDecode ? stats.decode_tokens : stats.prefill_tokens) += chunk.count;
  }
  stats.work = work_;
  return stats;
}

absl::Status ModelLane::Prepare(const StepPlan& plan, SteadyNs now) {
  CopyList slot_copies, page_copies;
  for (const SequenceId id : plan.admit) {
    RETURN_IF_ERROR(Admit(*places_.at(id).sequence, slot_copies));
    places_.at(id).job->Start(now);
  }
  std::vector<Reservation> reservations;
  for (const StepChunk& chunk : plan.chunks) {
    reservations.push_back({chunk.sequence, chunk.first, chunk.first + chunk.count});
  }
  if (!cache_.Reserve(reservations, page_copies)) {
    return absl::InternalError("the plan needs more pages than there are");
  }

  batch_.CopySlots(slot_copies);
  batch_.CopyPages(page_copies);
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const StepChunk& chunk = plan.chunks[i];
    const auto& [job, sequence] = places_.at(chunk.sequence);
    ChunkInput input;
    input.tokens = sequence->tokens;
    input.first = chunk.first;
    input.count = chunk.count;
    input.last_id_on_device = sequence->last_id_on_device;
    input.pages = cache_.Pages(sequence->id);
    input.slot = cache_.Slot(sequence->id);
    const int64_t rows_before = batch_.num_logit_rows();
    job->Want(*sequence, chunk.first, chunk.count, batch_.AddChunk(input), batch_);
    work_[i].logit_rows = batch_.num_logit_rows() - rows_before;
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResults> ModelLane::Compute(const StepPlan& plan, SteadyNs now,
                                               bool wants_gates) {
  batch_.Clear();
  if (wants_gates) batch_.WantTrace();
  RETURN_IF_ERROR(Prepare(plan, now));
  return engine_.Run(batch_);
}

GateValues ModelLane::GatesOf(const StepResults& results) const {
  GateValues gates;
  if (results.beta.empty()) return gates;
  gates.num_layers = info_.num_layers;
  gates.num_tokens = batch_.num_tokens();
  gates.value_channels = info_.value_channels;
  gates.beta = results.beta;
  gates.proj = results.proj;
  gates.v = results.v;
  return gates;
}

void ModelLane::Commit(const StepPlan& plan, const StepResults& results, SteadyNs now) {
  for (const StepChunk& chunk : plan.chunks) {
    const auto& [job, sequence] = places_.at(chunk.sequence);
    sequence->num_computed += chunk.count;
    job->Take(*sequence, results, now);
  }
  Sweep(now);
}

absl::StatusOr<bool> ModelLane::RunStep(const Clock& clock, StepObserver& observer) {
  const SteadyNs begin = clock.Now();
  Capacity capacity;
  capacity.token_budget = token_budget_;
  capacity.free_pages = cache_.free_pages();
  capacity.free_slots = cache_.free_slots();
  capacity.page_tokens = cache_.geometry().page_tokens;
  const StepPlan plan = scheduler_.Plan(Candidates(), capacity);
  for (const SequenceId id : plan.preempt) Preempt(*places_.at(id).sequence);
  if (plan.chunks.empty()) return !plan.preempt.empty();

  observer.OnStepBegin(info_.name, begin);
  StepStats stats = StatsOf(plan, begin);
  const absl::StatusOr<StepResults> results = Compute(plan, begin, observer.WantsGates(info_.name));
  stats.end = clock.Now();
  stats.failed = !results.ok();
  if (results.ok()) stats.gates = GatesOf(*results);
  observer.OnStep(stats);
  if (!results.ok()) return results.status();
  Commit(plan, *results, stats.end);
  return true;
}

void ModelLane::SweepSequences(Job& job) {
  std::deque<Sequence>& sequences = job.sequences();
  for (Sequence& parent : sequences) {
    if (!parent.has_forks || parent.done) continue;
    const auto is_fork = [&](const Sequence& other) { return other.parent == parent.id; };
    parent.done = std::none_of(sequences.begin(), sequences.end(), [&](const Sequence& other) {
      return is_fork(other) && other.waits_to_fork();
    });
    if (!parent.done) continue;
    for (Sequence& other : sequences) {
      if (is_fork(other)) other.parent = 0;
    }
  }
  for (Sequence& sequence : sequences) {
    if (sequence.done && sequence.running) {
      cache_.Release(sequence.id);
      sequence.running = false;
    }
  }
}

void ModelLane::Sweep(SteadyNs now) {
  for (size_t i = 0; i < jobs_.size();) {
    Job& job = *jobs_[i];
    SweepSequences(job);
    if (!job.failure().ok()) {
      End(job, job.failure(), now);
    } else if (job.finished()) {
      End(job, absl::OkStatus(), now);
    } else {
      ++i;
    }
  }
}

}  // namespace deltaserve
