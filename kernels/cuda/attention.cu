#include <algorithm>
#include <bit>
#include <string>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/prefill_attention.cuh"
#include "kernels/cuda/prepare_attention.cuh"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kMaxHeadDim = 256;

PagedCache MakeCache(const TensorView& kv, const BatchView& batch, int64_t num_heads,
                     int64_t head_dim) {
  return {.data = kv.data,
          .page_table = batch.page_table.As<int32_t>(),
          .page_stride = kv.row_stride,
          .table_stride = batch.page_table.row_stride,
          .num_heads = static_cast<int32_t>(num_heads),
          .head_dim = static_cast<int32_t>(head_dim)};
}

template <int kHeadDim>
void LaunchPrefill(const AttentionParams& p, const AttentionArgs& args, OpContext& context) {
  const PrefillAttentionArgs prefill = {
      .q = args.q,
      .y = static_cast<BFloat16*>(args.y),
      .positions = args.positions,
      .query_offsets = args.query_offsets,
      .cache = args.cache,
      .q_stride = args.q_stride,
      .y_stride = args.y_stride,
      .num_sequences = static_cast<int32_t>(p.batch.num_sequences),
      .scale = args.scale};
  // No more tiles than that, whatever the runs are.
  const int64_t num_tiles = p.batch.num_tokens / kTileQueries + p.batch.num_sequences;
  const LaunchShape shape = {{Unsigned(num_tiles), Unsigned(p.num_heads), 1},
                             kPrefillThreads,
                             PrefillSharedBytes(kHeadDim)};
  context.stream.Launch(&PrefillAttentionKernel<kHeadDim>, shape, prefill);
}

template <typename T, int N, int kChunks>
void LaunchAttention(const AttentionParams& p, AttentionArgs args, OpContext& context) {
  args.group_lanes =
      static_cast<int32_t>(std::bit_ceil(static_cast<uint64_t>(CeilDiv(args.cache.head_dim, N))));
  args.group_lanes = std::min(args.group_lanes, kWarpSize);
  const int64_t num_groups = kAttentionThreads / args.group_lanes;
  const int64_t partial_bytes = (args.cache.head_dim + 2) * 4;

  // Blocks past a token's own splits have nothing to do.
  const int64_t num_splits = CeilDiv(p.batch.page_table.dim(1) * kPageTokens, kSplitKeys);
  const int64_t count = args.single_tokens_only != 0 ? p.batch.num_sequences : p.batch.num_tokens;
  int64_t tile = count;
  if (num_splits > 1) {
    tile = std::min(context.scratch_bytes / (p.num_heads * num_splits * partial_bytes),
                    kNumTickets / p.num_heads);
  }
  if (tile == 0) {
    context.stream.Fail("Attention: " + std::to_string(num_splits) + " splits of " +
                        std::to_string(p.num_heads) + " heads do not fit into the scratch memory");
    return;
  }
  for (int64_t first = 0; first < count; first += tile) {
    args.first_token = first;
    const LaunchShape shape = {
        {Unsigned(std::min(tile, count - first)), Unsigned(p.num_heads), Unsigned(num_splits)},
        kAttentionThreads,
        Unsigned(num_groups * partial_bytes)};
    context.stream.Launch(&AttentionKernel<T, N, kChunks>, shape, args);
  }
}

}  // namespace

void PrepareAttention(const PrepareAttentionParams& p, OpContext& context) {
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  PrepareAttentionArgs args = {};
  args.q = p.q.As<float>();
  args.k = p.k.As<float>();
  args.v = p.v.As<float>();
  args.rope_cos = p.rope_cos.As<float>();
  args.rope_sin = p.rope_sin.As<float>();
  args.q_norm = p.q_norm.As<float>();
  args.k_norm = p.k_norm.As<float>();
  args.positions = p.batch.positions.As<int32_t>();
  args.sequence_of = p.batch.sequence_of.As<int32_t>();
  args.cache = MakeCache(p.kv, p.batch, p.num_heads, head_dim);
  args.q_stride = p.q.row_stride;
  args.k_stride = p.k.row_stride;
  args.v_stride = p.v.row_stride;
  args.num_tokens = p.batch.num_tokens;
  if (p.rope_cos) args.half_rotated = static_cast<int32_t>(p.rope_cos.dim(1));
  args.norm_eps = p.norm_eps;
  args.q_activation = p.q_activation;
  args.k_activation = p.k_activation;
  args.v_activation = p.v_activation;

  constexpr unsigned kWarps = 4;
  const LaunchShape shape = {{Blocks(p.batch.num_tokens * p.num_heads, kWarps), 1, 1},
                             kWarps * kWarpSize,
                             Unsigned(kWarps * 2 * head_dim * 4)};
  context.stream.Launch(p.kv.dtype == DType::kBF16 ? &PrepareAttentionKernel<BFloat16>
                                                   : &PrepareAttentionKernel<float>,
                        shape, args);
}

void Attention(const AttentionParams& p, OpContext& context) {
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  if (head_dim > kMaxHeadDim) {
    context.stream.Fail("Attention: a head size of " + std::to_string(head_dim) +
                        " is above the largest supported, " + std::to_string(kMaxHeadDim));
    return;
  }
  AttentionArgs args = {};
  args.q = p.q.As<float>();
  args.y = p.y.data;
  args.positions = p.batch.positions.As<int32_t>();
  args.sequence_of = p.batch.sequence_of.As<int32_t>();
  args.query_offsets = p.batch.query_offsets.As<int32_t>();
  args.cache = MakeCache(p.kv, p.batch, p.num_heads, head_dim);
  args.partials = reinterpret_cast<float*>(context.scratch);
  args.tickets = context.tickets;
  args.q_stride = p.q.row_stride;
  args.y_stride = p.y.row_stride;
  args.scale = p.scale;

  const bool bf16 = p.kv.dtype == DType::kBF16;
  const int64_t wide = bf16 ? 8 : 4;
  if (head_dim % wide == 0 && Aligned(p.q, wide) && Aligned(p.y, wide) && Aligned(p.kv, wide)) {
    // With no more tokens than runs there are hardly runs of several tokens.
    const bool tensor_cores = context.use_tensor_cores && bf16 &&
                              (head_dim == 64 || head_dim == 128) &&
                              p.batch.num_tokens > p.batch.num_sequences;
    if (tensor_cores) {
      args.single_tokens_only = 1;
      head_dim == 64 ? LaunchPrefill<64>(p, args, context) : LaunchPrefill<128>(p, args, context);
    }
    bf16 ? LaunchAttention<BFloat16, 8, 1>(p, args, context)
         : LaunchAttention<float, 4, 2>(p, args, context);
  } else {
    bf16 ? LaunchAttention<BFloat16, 1, 8>(p, args, context)
         : LaunchAttention<float, 1, 8>(p, args, context);
  }
}

}  // namespace deltaserve::cuda
