#include <algorithm>
#include <bit>
#include <cassert>
#include <string>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/log_probs.cuh"
#include "kernels/cuda/sample.cuh"

namespace deltaserve::cuda {
namespace {

static_assert(sizeof(SamplingRow) == 64 && sizeof(LogitEdit) == 16);

// A function of the vocabulary alone: the order of a row's sums is then its own.
unsigned RowThreads(int64_t vocab) {
  return Unsigned(std::min<int64_t>(CeilDiv(vocab, kQuad * kWarpSize) * kWarpSize, kMaxRowThreads));
}

bool CheckVocab(int64_t vocab, Stream& stream) {
  if (vocab <= kMaxId + 1) return true;
  stream.Fail("a vocabulary of " + std::to_string(vocab) + " ids; the CUDA backend takes " +
              std::to_string(kMaxId + 1));
  return false;
}

}  // namespace

void Sample(const SampleParams& p, OpContext& context) {
  const int64_t vocab = p.logits.dim(1);
  if (!CheckVocab(vocab, context.stream)) return;
  // A double has 53 bits; one is for rounding.
  const int vocab_bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab)));
  const SampleArgs args = {.logits = p.logits.As<float>(),
                           .rows = p.rows.As<const SamplingRow>(),
                           .edits = p.edits.As<const LogitEdit>(),
                           .sampled_ids = p.sampled_ids.As<int32_t>(),
                           .last_ids = p.last_ids.As<int32_t>(),
                           .logits_stride = p.logits.row_stride,
                           .first_row = p.first_row,
                           .vocab = static_cast<int32_t>(vocab),
                           .unit_bits = std::min(52, 63 - vocab_bits)};
  const int64_t shared_bytes =
      static_cast<int64_t>(sizeof(TruncationScratch)) + EditedRow::BitmapBytes(vocab);
  context.stream.Launch(&SampleKernel,
                        {{Unsigned(p.num_rows), 1, 1}, RowThreads(vocab), Unsigned(shared_bytes)},
                        args);
}

void LogProbs(const LogProbsParams& p, OpContext& context) {
  const int64_t vocab = p.logits.dim(1);
  if (!CheckVocab(vocab, context.stream)) return;
  assert(p.top_k <= kMaxListed);
  const LogProbsArgs args = {.logits = p.logits.As<float>(),
                             .target_offsets = p.target_offsets.As<int32_t>(),
                             .target_ids = p.target_ids.As<int32_t>(),
                             .sampled_ids = p.sampled_ids.As<int32_t>(),
                             .target_logprobs = p.target_logprobs.As<float>(),
                             .target_is_greedy = p.target_is_greedy.As<int32_t>(),
                             .top_ids = p.top_ids.As<int32_t>(),
                             .top_logprobs = p.top_logprobs.As<float>(),
                             .logits_stride = p.logits.row_stride,
                             .top_ids_stride = p.top_ids.row_stride,
                             .top_logprobs_stride = p.top_logprobs.row_stride,
                             .vocab = static_cast<int32_t>(vocab),
                             .top_k = static_cast<int32_t>(p.top_k)};
  const unsigned shared_bytes = p.top_k > 0 ? Unsigned(sizeof(TruncationScratch)) : 0;
  context.stream.Launch(&LogProbsKernel,
                        {{Unsigned(p.logits.dim(0)), 1, 1}, RowThreads(vocab), shared_bytes}, args);
}

}  // namespace deltaserve::cuda
