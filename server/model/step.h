// One step: the flat batch that a forward pass computes. Filled by engine/step_batch; every view is
// of the backend's memory unless it begins with h_.
#ifndef DELTASERVE_SERVER_MODEL_STEP_H_
#define DELTASERVE_SERVER_MODEL_STEP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/ops.h"

namespace deltaserve {

// One model's cache. Row 0 of every axis of pages or slots is for padding.
struct CacheView {
  std::vector<TensorView> kv;  // per layer, model dtype [pages, 2, H, page_tokens * D]
  TensorView tails;            // f32 [slots, calls, K-1, d]; absent without a token-axis compressor
  TensorView last_ids;         // i32 [slots]: what was sampled last
};

struct Step {
  BatchView batch;
  TensorView token_ids;    // i32 [T]; -1: the slot's last sampled id
  TensorView left_tokens;  // i32 [S, K_e-1]; absent without an embedding convolution

  // Forks: copied before anything else.
  TensorView page_copies;  // i32 [n, 2]; absent if there are none
  TensorView slot_copies;  // i32 [n, 2]; likewise

  // Rows of the batch whose logits are wanted, ascending: [R].
  TensorView logit_rows;  // i32 [R]
  int64_t num_logit_rows = 0;
  TensorView logits;  // out, f32 [R, V]: keeps them all; absent in serving, where tiles are reused

  // Rows to sample, ascending by logits_row: [M].
  TensorView sampling_rows;   // SamplingRow [M]
  TensorView sampling_edits;  // LogitEdit
  absl::Span<const SamplingRow> h_sampling_rows;

  // Tokens whose log-probability is wanted: N, grouped by logit row. -1-m: the m-th sampled one.
  TensorView target_offsets;  // i32 [R+1]
  TensorView target_ids;      // i32 [N]
  absl::Span<const int32_t> h_target_offsets;

  int64_t top_k =
      0;  // alternatives wanted of every row that has a target; at most kMaxAlternatives
};

inline constexpr int64_t kMaxAlternatives = 20;

// What a step leaves behind, in memory of the decoder that the next step overwrites. The views of
// results lie in one block, and those of the gates in another, so that each is one copy.
struct StepOutputs {
  TensorView sampled_ids;       // i32 [M]; -1: no finite choice
  TensorView target_logprobs;   // f32 [N]; NaN: logits not finite
  TensorView target_is_greedy;  // i32 [N]
  TensorView top_ids;           // i32 [R, top_k]
  TensorView top_logprobs;      // f32 [R, top_k]
  TensorView results;           // 32-bit words: all of the above
  // The gates of every sublayer, attention before MLP; absent for additive models.
  TensorView beta;   // f32 [2L, T]
  TensorView proj;   // f32 [2L, T, d_v]
  TensorView v;      // f32 [2L, T, d_v]
  TensorView gates;  // 32-bit words: all three
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_STEP_H_
