#include "server/engine/job.h"

#include <algorithm>
#include <utility>

namespace deltaserve {

bool Job::finished() const {
  return std::all_of(sequences_.begin(), sequences_.end(),
                     [](const Sequence& sequence) { return sequence.done; });
}

void Job::Start(SteadyNs now) {
  if (started()) return;
  started_at_ = now;
  usage_.queue_ns = now - submitted_at_;
}

void Job::Finish(absl::Status status, SteadyNs now) {
  if (!started()) usage_.queue_ns = now - submitted_at_;
  usage_.total_ns = now - submitted_at_;
  RequestOutcome outcome;
  outcome.status = std::move(status);
  outcome.usage = usage_;
  if (outcome.status.ok()) outcome.score = std::move(score_);
  sink_->OnDone(std::move(outcome));
}

Sequence& Job::AddSequence(std::vector<int32_t> tokens) {
  Sequence& sequence = sequences_.emplace_back();
  sequence.id = next_sequence_id_();
  sequence.num_tokens = tokens.size();
  sequence.tokens = std::move(tokens);
  return sequence;
}

Sequence& Job::AddFork(Sequence& parent, std::vector<int32_t> tokens, int64_t shared_tokens) {
  Sequence& fork = AddSequence(std::move(tokens));
  fork.parent = parent.id;
  fork.shared_tokens = shared_tokens;
  parent.has_forks = true;
  return fork;
}

void Job::NoteFirstToken(SteadyNs now) {
  if (usage_.time_to_first_token_ns == 0) usage_.time_to_first_token_ns = now - submitted_at_;
}

}  // namespace deltaserve
