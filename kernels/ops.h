// The ops of a backend: one parameter struct each. Every shape, dtype and unit is stated here,
// once.
//
// T tokens, S sequences, d model width, d_v value channels of the residual state, H heads, D head
// size, V vocabulary, R rows of logits. "model dtype" is kF32 or kBF16, the same for
// a decoder's weights, the operands of its products, and its cache; everything else, results of
// products and the residual state included, is fp32, and so are all sums. All views are of the
// backend's memory; outputs alias no input unless the field says so. An absent view leaves its part
// of the op out.
//
// Every op works row by row in an order that does not depend on the other rows: a token's numbers
// are the same bits alone, in a batch, and in any chunk of its prompt.
#ifndef DELTASERVE_KERNELS_OPS_H_
#define DELTASERVE_KERNELS_OPS_H_

#include <cstdint>
#include <memory>

#include "kernels/tensor.h"

namespace deltaserve {

enum class Activation : uint8_t { kIdentity, kSilu, kRelu, kEluPlusOne };

// The flat batch: S runs of consecutive tokens, one run a sequence, T tokens in all.
struct BatchView {
  int64_t num_tokens = 0;
  int64_t num_sequences = 0;
  TensorView positions;      // i32 [T]    position of the token in its sequence
  TensorView sequence_of;    // i32 [T]    which run the token belongs to, 0..S-1
  TensorView query_offsets;  // i32 [S+1]  run s is tokens [query_offsets[s], query_offsets[s+1])
  TensorView kv_len;         // i32 [S]    keys the run's last token attends to: its position + 1
  TensorView page_table;     // i32 [S, P] the sequence's pages in order; padded with page 0
  TensorView state_slot;     // i32 [S]    row of the per-sequence state
};

// X[t] = the initial state of token t (FORMAT.md 3.5).
struct EmbedParams {
  BatchView batch;
  TensorView token_ids;    // i32 [T]; -1: the last id sampled into the sequence's state slot
  TensorView last_ids;     // i32 [slots], written by Sample
  TensorView left_tokens;  // i32 [S, K_e-1]: ids before the run, oldest first; -1 before position 0
  TensorView wte;          // model dtype [V, d]
  TensorView conv;         // f32 [K_e, d_v, d], the last tap for the current token; absent: repeat
  TensorView x;            // out, f32 [T, d_v, d]
};

// A weight in the backend's own layout. Made once at load by Backend::PackLinear; immutable.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  virtual int64_t size_bytes() const = 0;  // as stored, padding included
};

// y = x W^T.
struct LinearParams {
  const PackedLinear* weight = nullptr;
  TensorView x;  // model dtype [M, in], rows may be strided
  TensorView y;  // out, model dtype or f32 [M, out], dense
  // Between the rows of x, up to its stride, there are zeros, which may be multiplied as well.
  bool zero_padded = false;
};

// One boundary between two sublayers (docs/architecture.md): write the finished sublayer's result
// into the residual state, read the next sublayer's input from it, normalise that, and make the
// gate and target of the next write. The state is kept by planes, [T, d_v, d]: feature fastest.
//
//   write   kAdd    X += h
//           kDelta  k = h / sqrt(|h|^2 + k_eps^2), p_j = k . X_j, X_j += beta (v_j - p_j) k
//           (FORMAT.md 3.3, Delta update)
//   read    kIdentity  x_in = X (d_v = 1)
//           kChannels  x_in[i] = sum_j read_weight[j, i] X[j, i]          (FORMAT.md 3.4, CC
//           folded) kTime      x_in[t, i] = sum_s z_s(t - (K-1) + s)[i], oldest first, with
//                      z_s(t)[i] = sum_j read_weight[s, j, i] X[t, j, i]  (FORMAT.md 3.4, TC
//                      folded)
//   norm    c = norm_weight * x_in / sqrt(mean(x_in^2) + norm_eps)        (FORMAT.md 3.1)
//   gate    beta = 2 sigmoid(beta_weight . c + beta_bias)                 (one-layer gate)
//   target  v_j = v_scale sigmoid(u_j), or u_j, with u = v_weight x_in + v_bias; or v_constant
struct BoundaryParams {
  enum class Write : uint8_t { kNone, kAdd, kDelta };
  enum class Read : uint8_t { kIdentity, kChannels, kTime };
  enum class Target : uint8_t { kNone, kSigmoid, kLinear, kConstant };

  BatchView batch;
  TensorView src;  // f32 [T, d_v, d]
  TensorView dst;  // out, same; equal to src, except with kTime and a write: then it is apart, so
                   // that a worker can recompute the K-1 rows before its own from src
  Write write = Write::kNone;
  TensorView h;           // f32 [T, d]
  TensorView write_beta;  // f32 [T]
  TensorView write_v;     // f32 [T, d_v]
  float k_eps = 0;
  TensorView proj;  // out, f32 [T, d_v]: p, of the state before the write; optional

  Read read = Read::kIdentity;
  TensorView read_weight;  // f32 [d_v, d] (kChannels) or [K, d_v, d] (kTime)
  // f32 [slots, K-1, d], updated in place: row m of a slot is the sum of all that tokens so far
  // contribute to x_in of the m+1-th token after them. Taken as zero where a run starts at position
  // 0.
  TensorView tails;
  TensorView next_tails = {};  // those of the next boundary, if there is one: a hint, as next_kv
  TensorView x_in;             // out, f32 [T, d]; optional

  TensorView norm_weight;  // f32 [d]
  float norm_eps = 0;
  TensorView c;  // out, model dtype [T, d]

  TensorView beta_weight;  // f32 [d]; absent: no gate is made here
  float beta_bias = 0;
  TensorView beta;  // out, f32 [T]; may be write_beta itself (a row's is read before it is written)
  Target target = Target::kNone;
  TensorView v_weight;  // f32 [d_v, d]
  TensorView v_bias;    // f32 [d_v]
  float v_scale = 1;
  float v_constant = 0;
  TensorView v;  // out, f32 [T, d_v]; may be write_v itself
};

// beta = 2 sigmoid(out_weight . tanh(hidden) + out_bias): the outer half of a two-layer gate.
struct TwoLayerGateParams {
  TensorView hidden;      // f32 [T, b], rows may be strided
  TensorView out_weight;  // f32 [b]
  float out_bias = 0;
  TensorView beta;  // out, f32 [T]
};

// q, k, v as FORMAT.md 3.2 steps 2-4: activations, RoPE, QK-norm; k and v go into the paged cache.
struct PrepareAttentionParams {
  BatchView batch;
  TensorView q;  // in and out, f32 [T, H*D], rows may be strided
  TensorView k;  // f32 [T, H*D], rows may be strided
  TensorView v;  // f32 [T, H*D], rows may be strided
  int64_t num_heads = 0;
  Activation q_activation = Activation::kIdentity;
  Activation k_activation = Activation::kIdentity;
  Activation v_activation = Activation::kIdentity;
  TensorView rope_cos;  // f32 [block_size, r/2], r <= D rotated entries of a head; absent: none
  TensorView rope_sin;  // f32 [block_size, r/2]
  TensorView q_norm;    // f32 [D]; absent: no QK-norm
  TensorView k_norm;    // f32 [D]
  float norm_eps = 0;
  // model dtype [pages, 2, H, page_tokens * D]: keys, then values, of one layer. The order inside
  // one head's page is the backend's own.
  TensorView kv;
};

// y_t = softmax over s <= t of (q_t . k_s * scale), applied to v, per head. Keys and values of the
// batch's own tokens are in the cache already.
struct AttentionParams {
  BatchView batch;
  TensorView q;   // f32 [T, H*D], rows may be strided
  TensorView kv;  // as PrepareAttention leaves it
  // What the next Attention will read for the same batch, if there is one: a hint to a backend that
  // can fetch it meanwhile.
  TensorView next_kv = {};
  int64_t num_heads = 0;
  float scale = 1;
  TensorView y;  // out, model dtype [T, H*D], dense
};

// FORMAT.md 3.2 steps 6-7, in place: y <- RMSNorm(y; norm_weight) per head, then y <- y *
// silu(gate).
struct HeadNormGateParams {
  TensorView y;  // in and out, model dtype [T, H*D]
  int64_t num_heads = 0;
  TensorView norm_weight;  // f32 [D]; absent: no norm
  float norm_eps = 0;
  TensorView gate;  // f32 [T, H*D], rows may be strided; absent: no gate
};

// out = silu(gate) * up.
struct SwiGluParams {
  TensorView gate_up;  // f32 [T, 2*hid], gate first, rows may be strided
  TensorView out;      // out, model dtype [T, hid], rows may be strided; what is between them stays
};

// out[r] = x[rows[r]].
struct GatherRowsParams {
  TensorView x;     // [N, d]
  TensorView rows;  // i32 [R]
  TensorView out;   // [R, d]
};

// One sampled row. Order of processing: edits (bias, penalties, ban), temperature, top_k, top_p,
// min_p, draw. Ties go to the lowest id. The draw inverts the cumulative distribution of the
// survivors in id order at one uniform number made of (seed, stream, position) alone.
struct SamplingRow {
  uint64_t seed = 0;
  int32_t stream = 0;      // index of the sample among the n of its request
  int32_t position = 0;    // of the token being sampled
  int32_t logits_row = 0;  // row of the step's logits, counted from its first
  int32_t state_slot = 0;  // its last_ids entry receives the id
  float temperature = 1;   // 0: greedy
  int32_t top_k = 0;       // 0: off
  float top_p = 1;
  float min_p = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
  int32_t edits_begin = 0;  // its edits are edits[edits_begin, edits_end), each id at most once
  int32_t edits_end = 0;
};

// logit += bias; if seen: logit = logit > 0 ? logit / repetition : logit * repetition;
// logit -= frequency * count + presence * (count > 0); if banned: logit = -inf.
struct LogitEdit {
  int32_t id = 0;
  float bias = 0;
  int32_t count = 0;   // occurrences among the generated tokens
  int16_t seen = 0;    // occurs in prompt or generated tokens
  int16_t banned = 0;  // min_tokens keeps end-of-sequence and stop ids out
};

struct SampleParams {
  TensorView logits;       // f32 [R, V], unchanged
  int64_t first_row = 0;   // the step's row that logits begins with
  int64_t num_rows = 0;    // M
  TensorView rows;         // SamplingRow [M], as kI32 words
  TensorView edits;        // LogitEdit, as kI32 words; may be absent
  TensorView sampled_ids;  // out, i32 [M]; -1 where a logit was not finite or every id was banned
  TensorView last_ids;     // out, i32 [slots]
};

// Log-probabilities under the raw logits.
struct LogProbsParams {
  TensorView logits;            // f32 [R, V]
  TensorView target_offsets;    // i32 [R+1]: row r's targets are [target_offsets[r], ..[r+1])
                                // minus target_offsets[0]
  TensorView target_ids;        // i32 [N]; -1-m stands for sampled_ids[m]
  TensorView sampled_ids;       // i32 [M]; absent: every target is an id
  TensorView target_logprobs;   // out, f32 [N]; NaN where a logit of the row is not finite
  TensorView target_is_greedy;  // out, i32 [N]: 1 where the target is the row's argmax
  int64_t top_k = 0;            // alternatives of every row of the call
  TensorView top_ids;           // out, i32 [R, top_k], best first, ties by lowest id
  TensorView top_logprobs;      // out, f32 [R, top_k]
};

// data[pairs[m][1]] = data[pairs[m][0]]. No destination is also a source.
struct CopyRowsParams {
  TensorView data;   // any dtype, [N, ...]
  TensorView pairs;  // i32 [M, 2]
};

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_OPS_H_
