// Fills the flat batch contract of a step (model/step.h) from chunks of sequences.
#ifndef DELTASERVE_SERVER_ENGINE_STEP_BATCH_H_
#define DELTASERVE_SERVER_ENGINE_STEP_BATCH_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "server/model/step.h"

namespace deltaserve {

// One run of a sequence's tokens.
struct ChunkInput {
  absl::Span<const int32_t> tokens;  // the sequence's, from position 0
  int64_t first = 0;                 // computes positions [first, first + count)
  int64_t count = 0;
  bool last_id_on_device = false;  // the last token is what was sampled last into its slot
  absl::Span<const int32_t> pages;
  int32_t slot = 0;
};

// The largest step of a model, without padding.
struct StepSize {
  int64_t tokens = 0;              // T
  int64_t sequences = 0;           // S
  int64_t pages_per_sequence = 0;  // of the longest table
  int64_t samples = 0;             // M
  int64_t targets = 0;             // N
  int64_t edits = 0;               // of logits, of all samples
};

// Built on the host, then brought over in one copy. Reused from step to step; not thread-safe.
//
// For a device that wants shapes to recur (StepTraits), a step of single tokens is padded: rows
// that decode token 0 at position 0 with page 0 and slot 0, and sample from it for nobody. What
// comes before them is as it would be without them.
class StepBatch {
 public:
  // `left_tokens`: ids before a run that the embedding reads.
  StepBatch(Backend& backend, int64_t left_tokens)
      : backend_(backend),
        recurring_shapes_(backend.step_traits().recurring_shapes),
        left_tokens_(left_tokens) {}

  // Reserves the memory of any step up to this size; a larger one grows it.
  absl::Status Reserve(const StepSize& most);

  void Clear();

  // Returns the batch row of the chunk's first token.
  int64_t AddChunk(const ChunkInput& chunk);
  // The three below, in this order for each row. Batch rows must ascend from call to call.
  int64_t AddLogitRow(int64_t batch_row);  // returns the logits row
  // Samples from the last logits row added (`row.logits_row` is filled in); returns the sample's
  // index.
  int64_t AddSample(SamplingRow row, absl::Span<const LogitEdit> edits);
  // Wants a log-probability under the last logits row added; returns the target's index.
  int64_t AddTarget(int32_t id);
  int64_t AddSampledTarget(int64_t sample);  // of what that sample turns out to be
  void WantAlternatives(int64_t top_k) { top_k_ = std::max(top_k_, top_k); }
  void WantTrace() { wants_trace_ = true; }

  void CopyPages(absl::Span<const std::pair<int32_t, int32_t>> pairs);
  void CopySlots(absl::Span<const std::pair<int32_t, int32_t>> pairs);

  int32_t slot_of_last_chunk() const { return state_slot_.back(); }
  // Without padding.
  int64_t num_tokens() const { return Count(token_ids_); }
  int64_t num_sequences() const { return Count(kv_len_); }
  int64_t num_logit_rows() const { return logit_rows_.empty() ? 0 : Count(logit_rows_); }
  int64_t num_samples() const { return sampling_rows_.empty() ? 0 : Count(sampling_rows_); }
  int64_t num_targets() const { return target_ids_.empty() ? 0 : Count(target_ids_); }
  bool wants_trace() const { return wants_trace_; }

  // Copies everything to the backend. The step refers to this object and holds until Clear().
  absl::StatusOr<Step> Upload();

 private:
  template <typename T>
  int64_t Count(const std::vector<T>& entries) const {
    return static_cast<int64_t>(entries.size()) - padding_;
  }
  void Pad();

  Backend& backend_;
  const bool recurring_shapes_;
  const int64_t left_tokens_;

  std::vector<int32_t> token_ids_, positions_, sequence_of_;  // [T]
  std::vector<int32_t> query_offsets_, kv_len_, state_slot_;  // [S+1], [S], [S]
  std::vector<int32_t> left_;                                 // [S, left_tokens_]
  std::vector<absl::Span<const int32_t>> pages_;              // [S]
  std::vector<int32_t> logit_rows_, target_offsets_, target_ids_;
  std::vector<SamplingRow> sampling_rows_;
  std::vector<LogitEdit> edits_;
  std::vector<int32_t> page_copies_, slot_copies_;  // [n, 2]
  int64_t top_k_ = 0;
  bool wants_trace_ = false;
  int64_t padding_ = 0;  // rows of the last Upload()

  std::vector<uint8_t> packed_;
  Buffer device_;  // grows, never shrinks
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_STEP_BATCH_H_
