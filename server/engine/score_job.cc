#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/api/retry_hint.h"
#include "server/engine/job.h"

namespace deltaserve {
namespace {

// One sequence, or a context whose continuations are forks of it. A continuation's first token is
// scored by the context's last logits, so its fork computes from there on.
class ScoreJob final : public Job {
 public:
  ScoreJob(ScoreRequest request, std::shared_ptr<TokenSink> sink, const JobContext& context)
      : Job(request.id, request.deadline, context.submitted_at, std::move(sink),
            context.next_sequence_id),
        request_(std::move(request)),
        num_layers_(context.num_layers),
        value_channels_(context.value_channels) {
    usage_.prompt_tokens = request_.context.size();
    score_ = std::make_unique<ScoreResult>();
    score_->continuations.resize(request_.continuations.size());
    const Sequence& context_sequence = AddSequence(request_.context);
    if (request_.continuations.empty()) scored_[&context_sequence] = {&score_->sequence, 1};
    if (request_.trace) {
      const int64_t sites = 2 * num_layers_;
      const int64_t tokens = request_.context.size();
      score_->trace.num_layers = num_layers_;
      score_->trace.num_tokens = tokens;
      score_->trace.value_channels = value_channels_;
      score_->trace.beta.resize(sites * tokens);
      score_->trace.proj.resize(sites * tokens * value_channels_);
      score_->trace.v.resize(sites * tokens * value_channels_);
    }
  }

  void Want(Sequence& sequence, int64_t first, int64_t count, int64_t batch_row,
            StepBatch& batch) override {
    if (request_.top_k > 0) batch.WantAlternatives(request_.top_k);
    if (request_.trace) {
      batch.WantTrace();
      trace_.push_back({first, count, batch_row});
    }
    if (IsContext(sequence) && !request_.continuations.empty()) {
      if (first + count == sequence.num_tokens && !context_taken_) {
        WantFirstTokens(batch_row + count - 1, batch);
      }
      return;
    }
    // What was scored before a preemption is not scored again.
    Scored& scored = scored_.at(&sequence);
    const int64_t end = std::min(first + count + 1, static_cast<int64_t>(sequence.tokens.size()));
    for (; scored.next < end; ++scored.next) {
      const int64_t logits_row = batch.AddLogitRow(batch_row + scored.next - 1 - first);
      wanted_.push_back(
          {&sequence, scored.scores, logits_row, batch.AddTarget(sequence.tokens[scored.next])});
    }
  }

  void Take(Sequence& sequence, const StepResults& results, SteadyNs now) override {
    while (!wanted_.empty() && wanted_.front().sequence == &sequence) {
      NoteFirstToken(now);
      TakeScore(wanted_.front(), results);
      wanted_.pop_front();
    }
    if (request_.trace && !trace_.empty()) {
      TakeTrace(trace_.front(), results);
      trace_.pop_front();
    }
    if (!sequence.computed()) return;
    if (!IsContext(sequence) || request_.continuations.empty()) {
      sequence.done = true;
    } else if (!context_taken_) {
      context_taken_ = true;
      Fork(sequence);
    }
  }

  Phase PhaseOf(const Sequence&, int64_t, int64_t) const override { return Phase::kScore; }

  void EndForBudget() override {
    // Waiting makes it no cheaper.
    failure_ = WithRetryHint(
        absl::ResourceExhaustedError("budget: the request has cost what was set aside for it"),
        absl::InfiniteDuration());
  }

  void StopSample(int32_t) override {}

 private:
  struct Wanted {
    const Sequence* sequence = nullptr;
    TokenScores* scores = nullptr;
    int64_t logits_row = 0;
    int64_t target = 0;
  };
  // Where a sequence's scores go, and the first of its tokens that has none yet.
  struct Scored {
    TokenScores* scores = nullptr;
    int64_t next = 0;
  };
  // Tokens [first, first + count) of the trace are rows of the step from batch_row on.
  struct TraceChunk {
    int64_t first = 0, count = 0, batch_row = 0;
  };

  bool IsContext(const Sequence& sequence) { return &sequence == &sequences().front(); }

  void WantFirstTokens(int64_t row, StepBatch& batch) {
    const int64_t logits_row = batch.AddLogitRow(row);
    for (size_t i = 0; i < request_.continuations.size(); ++i) {
      wanted_.push_back({&sequences().front(), &score_->continuations[i], logits_row,
                         batch.AddTarget(request_.continuations[i].front())});
    }
  }

  void TakeScore(const Wanted& wanted, const StepResults& results) {
    const float logprob = results.target_logprobs[wanted.target];
    if (std::isnan(logprob)) {
      failure_ = absl::InternalError(absl::StrCat("the model's logits are not finite after token ",
                                                  wanted.scores->logprobs.size()));
    }
    TokenScores& scores = *wanted.scores;
    scores.logprobs.push_back(logprob);
    scores.is_greedy.push_back(results.target_is_greedy[wanted.target] != 0);
    ++usage_.scored_tokens;
    if (request_.top_k == 0) return;
    std::vector<Alternative>& top = scores.top_k.emplace_back();
    for (int32_t k = 0; k < request_.top_k; ++k) {
      const int64_t at = wanted.logits_row * results.top_k + k;
      top.push_back({results.top_ids[at], results.top_logprobs[at]});
    }
  }

  void TakeTrace(const TraceChunk& chunk, const StepResults& results) {
    RewriteTrace& trace = score_->trace;
    const int64_t batch_tokens = results.beta.size() / (2 * num_layers_);
    const auto copy = [&](const std::vector<float>& from, std::vector<float>& to, int64_t width) {
      for (int64_t site = 0; site < 2 * num_layers_; ++site) {
        const auto begin = from.begin() + (site * batch_tokens + chunk.batch_row) * width;
        std::copy(begin, begin + chunk.count * width,
                  to.begin() + (site * trace.num_tokens + chunk.first) * width);
      }
    };
    copy(results.beta, trace.beta, 1);
    copy(results.proj, trace.proj, value_channels_);
    copy(results.v, trace.v, value_channels_);
  }

  void Fork(Sequence& context) {
    for (size_t i = 0; i < request_.continuations.size(); ++i) {
      const std::vector<int32_t>& continuation = request_.continuations[i];
      if (continuation.size() == 1) continue;
      std::vector<int32_t> tokens = request_.context;
      tokens.insert(tokens.end(), continuation.begin(), continuation.end());
      Sequence& fork =
          AddFork(context, std::move(tokens), static_cast<int64_t>(request_.context.size()));
      --fork.num_tokens;  // nobody asks for the logits of its last token
      scored_[&fork] = {&score_->continuations[i],
                        static_cast<int64_t>(request_.context.size()) + 1};
    }
    if (!context.has_forks) context.done = true;
  }

  const ScoreRequest request_;
  const int64_t num_layers_;
  const int64_t value_channels_;
  bool context_taken_ = false;
  std::map<const Sequence*, Scored> scored_;
  std::deque<Wanted> wanted_;  // of the step under way, in order
  std::deque<TraceChunk> trace_;
};

}  // namespace

std::unique_ptr<Job> MakeJob(ScoreRequest request, std::shared_ptr<TokenSink> sink,
                             const JobContext& context) {
  return std::make_unique<ScoreJob>(std::move(request), std::move(sink), context);
}

}  // namespace deltaserve
