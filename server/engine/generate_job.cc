#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "server/engine/job.h"

namespace deltaserve {
namespace {

constexpr int32_t kNotFinite = -1;  // Backend::Sample found no finite choice

// n = 1: one sequence, prompt and continuation. n > 1: the prompt is a sequence of its own, whose
// last logits are sampled n times; the samples go on as forks of it.
class GenerateJob final : public Job {
 public:
  GenerateJob(GenerateRequest request, std::shared_ptr<TokenSink> sink, const JobContext& context)
      : Job(request.id, request.deadline, context.submitted_at, std::move(sink),
            context.next_sequence_id),
        request_(std::move(request)) {
    ends_ = request_.stop_token_ids;
    if (context.eos_token_id && !request_.ignore_eos) ends_.push_back(*context.eos_token_id);
    std::sort(ends_.begin(), ends_.end());
    ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());

    usage_.prompt_tokens = request_.prompt.size();
    Sequence& prompt = AddSequence(request_.prompt);
    samples_.resize(request_.n);
    if (request_.n == 1) samples_[0].sequence = &prompt;
    if (NeedsCounts()) {
      prompt_ids_.insert(request_.prompt.begin(), request_.prompt.end());
    }
  }

  void Want(Sequence& sequence, int64_t first, int64_t count, int64_t batch_row,
            StepBatch& batch) override {
    if (first + count < sequence.num_tokens) return;
    // A prompt that is computed anew for its forks has been sampled from already.
    if (IsPrompt(sequence) && samples_[0].sequence != nullptr) return;
    wanted_.push_back({&sequence, batch.AddLogitRow(batch_row + count - 1), {}});
    for (int32_t index = 0; index < request_.n; ++index) {
      if (samples_[index].sequence != &sequence && !IsPrompt(sequence)) continue;
      wanted_.back().picks.push_back(WantSample(index, sequence, batch));
    }
    for (Pick& pick : wanted_.back().picks) {
      if (request_.logprobs) pick.target = batch.AddSampledTarget(pick.sample);
    }
    if (request_.logprobs) batch.WantAlternatives(*request_.logprobs);
  }

  void Take(Sequence& sequence, const StepResults& results, SteadyNs now) override {
    if (wanted_.empty() || wanted_.front().sequence != &sequence) return;
    const Wanted wanted = std::move(wanted_.front());
    wanted_.pop_front();
    NoteFirstToken(now);
    if (IsPrompt(sequence)) return Fork(sequence, wanted, results);
    TakeToken(wanted.picks[0], wanted.logits_row, results);
  }

  // Decoding is the one token that was sampled last; more of them at once are computed anew.
  Phase PhaseOf(const Sequence& sequence, int64_t first, int64_t count) const override {
    const bool last_alone = count == 1 && first + 1 == sequence.num_tokens;
    const bool sampled = first >= static_cast<int64_t>(request_.prompt.size());
    return last_alone && sampled ? Phase::kDecode : Phase::kPrefill;
  }

  void EndForBudget() override {
    for (int32_t index = 0; index < request_.n; ++index) {
      const Sequence* sequence = samples_[index].sequence;
      if (sequence == nullptr || !sequence->done) sink().OnSampleDone(index, FinishReason::kBudget);
    }
    for (Sequence& sequence : sequences()) sequence.done = true;
  }

  void StopSample(int32_t sample) override {
    if (sample < 0 || sample >= request_.n) return;
    Sequence* sequence = samples_[sample].sequence;
    if (sequence != nullptr && !sequence->done) End(sample, FinishReason::kStop);
  }

 private:
  struct Sample {
    Sequence* sequence = nullptr;   // null until the prompt has been sampled from
    std::map<int32_t, int> counts;  // of generated ids, where a penalty asks for them
  };
  // A sample of this step.
  struct Pick {
    int32_t index = 0;    // among the n
    int64_t sample = 0;   // of the step
    int64_t target = -1;  // of the step, where log-probabilities are wanted
  };
  struct Wanted {
    const Sequence* sequence = nullptr;
    int64_t logits_row = 0;
    std::vector<Pick> picks;
  };

  bool IsPrompt(const Sequence& sequence) {
    return request_.n > 1 && &sequence == &sequences().front();
  }
  bool NeedsCounts() const {
    const SamplingParams& params = request_.sampling;
    return params.presence_penalty != 0 || params.frequency_penalty != 0 ||
           params.repetition_penalty != 1;
  }
  int64_t NumGenerated(const Sequence& sequence) const {
    return static_cast<int64_t>(sequence.tokens.size() - request_.prompt.size());
  }

  Pick WantSample(int32_t index, const Sequence& sequence, StepBatch& batch) {
    const SamplingParams& params = request_.sampling;
    SamplingRow row;
    row.seed = params.seed;
    row.stream = index;
    row.position = static_cast<int32_t>(sequence.tokens.size());
    // A fork takes its first id to the device itself.
    row.state_slot = IsPrompt(sequence) ? 0 : batch.slot_of_last_chunk();
    row.temperature = params.temperature;
    row.top_k = params.top_k;
    row.top_p = params.top_p;
    row.min_p = params.min_p;
    row.presence_penalty = params.presence_penalty;
    row.frequency_penalty = params.frequency_penalty;
    row.repetition_penalty = params.repetition_penalty;
    Pick pick;
    pick.index = index;
    pick.sample = batch.AddSample(row, Edits(samples_[index], NumGenerated(sequence)));
    return pick;
  }

  std::vector<LogitEdit> Edits(const Sample& sample, int64_t num_generated) const {
    std::map<int32_t, LogitEdit> edits;
    const auto at = [&](int32_t id) -> LogitEdit& {
      LogitEdit& edit = edits[id];
      edit.id = id;
      return edit;
    };
    for (const auto& [id, bias] : request_.sampling.logit_bias) at(id).bias = bias;
    for (const int32_t id : prompt_ids_) at(id).seen = 1;
    for (const auto& [id, count] : sample.counts) {
      at(id).seen = 1;
      at(id).count = count;
    }
    if (num_generated < request_.min_tokens) {
      for (const int32_t id : ends_) at(id).banned = 1;
    }
    std::vector<LogitEdit> list;
    for (const auto& [id, edit] : edits) list.push_back(edit);
    return list;
  }

  void Fork(Sequence& prompt, const Wanted& wanted, const StepResults& results) {
    for (const Pick& pick : wanted.picks) {
      samples_[pick.index].sequence =
          &AddFork(prompt, request_.prompt, static_cast<int64_t>(request_.prompt.size()));
    }
    for (const Pick& pick : wanted.picks) TakeToken(pick, wanted.logits_row, results);
  }

  void TakeToken(const Pick& pick, int64_t logits_row, const StepResults& results) {
    Sample& sample = samples_[pick.index];
    Sequence& sequence = *sample.sequence;
    SampledToken token;
    token.id = results.sampled_ids[pick.sample];
    if (token.id == kNotFinite) return End(pick.index, FinishReason::kError);
    if (pick.target >= 0) {
      token.logprob = results.target_logprobs[pick.target];
      for (int32_t k = 0; k < *request_.logprobs; ++k) {
        const int64_t at = logits_row * results.top_k + k;
        token.top.push_back({results.top_ids[at], results.top_logprobs[at]});
      }
    }
    sequence.tokens.push_back(token.id);
    ++sequence.num_tokens;
    sequence.last_id_on_device = sequence.running;
    if (NeedsCounts()) ++sample.counts[token.id];
    ++usage_.completion_tokens;
    sink().OnTokens(pick.index, {&token, 1});

    if (std::binary_search(ends_.begin(), ends_.end(), token.id)) {
      End(pick.index, FinishReason::kStop);
    } else if (NumGenerated(sequence) >= request_.max_tokens) {
      End(pick.index, FinishReason::kLength);
    }
  }

  void End(int32_t index, FinishReason reason) {
    samples_[index].sequence->done = true;
    sink().OnSampleDone(index, reason);
  }

  const GenerateRequest request_;
  std::vector<int32_t> ends_;     // end of sequence and stop ids, sorted
  std::set<int32_t> prompt_ids_;  // where a penalty asks for them
  std::vector<Sample> samples_;
  std::deque<Wanted> wanted_;  // of the step under way, in order
};

}  // namespace

std::unique_ptr<Job> MakeJob(GenerateRequest request, std::shared_ptr<TokenSink> sink,
                             const JobContext& context) {
  return std::make_unique<GenerateJob>(std::move(request), std::move(sink), context);
}

}  // namespace deltaserve
