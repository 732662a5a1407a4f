#include <algorithm>
#include <string>

#include "kernels/cuda/boundary.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kMaxWidth = 4096;
constexpr int64_t kMaxChannels = 8;

BoundaryArgs MakeArgs(const BoundaryParams& p) {
  BoundaryArgs args = {};
  args.src = p.src.As<float>();
  args.dst = p.dst.As<float>();
  args.h = p.h.As<float>();
  args.write_beta = p.write_beta.As<float>();
  args.write_v = p.write_v.As<float>();
  args.proj = p.proj.As<float>();
  args.read_weight = p.read_weight.As<float>();
  args.tails = p.tails.As<float>();
  args.x_in = p.x_in.As<float>();
  args.norm_weight = p.norm_weight.As<float>();
  args.c = p.c.data;
  args.beta_weight = p.beta_weight.As<float>();
  args.beta = p.beta.As<float>();
  args.v_weight = p.v_weight.As<float>();
  args.v_bias = p.v_bias.As<float>();
  args.v = p.v.As<float>();
  args.positions = p.batch.positions.As<int32_t>();
  args.sequence_of = p.batch.sequence_of.As<int32_t>();
  args.query_offsets = p.batch.query_offsets.As<int32_t>();
  args.state_slot = p.batch.state_slot.As<int32_t>();
  args.tails_stride = p.tails.row_stride;
  args.num_tokens = p.batch.num_tokens;
  args.d = static_cast<int32_t>(p.src.dim(2));
  args.d_v = static_cast<int32_t>(p.src.dim(1));
  args.k_eps = p.k_eps;
  args.norm_eps = p.norm_eps;
  args.beta_bias = p.beta_bias;
  args.v_scale = p.v_scale;
  args.v_constant = p.v_constant;
  args.write = p.write;
  args.read = p.read;
  args.target = p.target;
  args.c_is_bf16 = p.c.dtype == DType::kBF16;
  return args;
}

// How many tokens of a run a block takes where the read goes over time: few enough for all
// multiprocessors to have some, many enough for the K-1 that are computed twice not to weigh much.
// 0: whole runs, each on one block.
int32_t BlockTokens(const BoundaryParams& p) {
  // Every run has one token, or else some have none; and a block must not read what another one
  // overwrites.
  const bool shares_gate = p.write == BoundaryParams::Write::kDelta &&
                           (p.beta.data == p.write_beta.data || p.v.data == p.write_v.data);
  if (p.batch.num_tokens <= p.batch.num_sequences || shares_gate) return 0;
  return static_cast<int32_t>(std::clamp<int64_t>(p.batch.num_tokens / 256, 4, 16));
}

template <int kChannels, int N, int kSlabs>
void LaunchBoundary(const BoundaryParams& p, BoundaryArgs args, OpContext& context) {
  LaunchShape shape;
  shape.block_threads = Blocks(args.d, N * kSlabs * 32) * 32;
  shape.grid.x = Unsigned(p.batch.num_tokens);
  if (p.read != BoundaryParams::Read::kTime) {
    context.stream.Launch(&BoundaryKernel<kChannels, N, kSlabs>, shape, args);
    return;
  }
  args.num_taps = static_cast<int32_t>(p.read_weight.dim(0));
  args.block_tokens = BlockTokens(p);
  shape.shared_bytes = Unsigned(int64_t{args.num_taps - 1} * args.d * 4);
  const unsigned num_runs = Unsigned(p.batch.num_sequences);
  shape.grid.x = args.block_tokens == 0 ? num_runs : Blocks(p.batch.num_tokens, args.block_tokens);
  context.stream.Launch(&BoundaryKernel<kChannels, N, kSlabs>, shape, args);
  if (args.block_tokens == 0 || args.num_taps == 1) return;

  // From the state as it is now.
  args.src = args.dst;
  args.write = BoundaryParams::Write::kNone;
  shape.grid.x = num_runs;
  context.stream.Launch(&BoundaryTailsKernel<kChannels, N, kSlabs>, shape, args);
}

template <int N, int kSlabs>
void LaunchForChannels(const BoundaryParams& p, const BoundaryArgs& args, OpContext& context) {
  if (args.d_v == 1) {
    LaunchBoundary<1, N, kSlabs>(p, args, context);
  } else if (args.d_v == 2) {
    LaunchBoundary<2, N, kSlabs>(p, args, context);
  } else if (args.d_v <= 4) {
    LaunchBoundary<4, N, kSlabs>(p, args, context);
  } else {
    LaunchBoundary<8, N, kSlabs>(p, args, context);
  }
}

}  // namespace

void Boundary(const BoundaryParams& p, OpContext& context) {
  const int64_t d_v = p.src.dim(1), d = p.src.dim(2);
  if (d > kMaxWidth || d_v > kMaxChannels) {
    context.stream.Fail("Boundary: a state of " + std::to_string(d) + " x " + std::to_string(d_v) +
                        " is above the largest supported, " + std::to_string(kMaxWidth) + " x " +
                        std::to_string(kMaxChannels));
    return;
  }
  const BoundaryArgs args = MakeArgs(p);
  bool wide = d % 4 == 0 && reinterpret_cast<uintptr_t>(p.c.data) % 16 == 0;
  for (const TensorView* view : {&p.src, &p.dst, &p.h, &p.read_weight, &p.tails, &p.x_in,
                                 &p.norm_weight, &p.beta_weight, &p.v_weight}) {
    wide = wide && reinterpret_cast<uintptr_t>(view->data) % 16 == 0;
  }
  wide = wide && args.tails_stride % 4 == 0;
  if (wide) {
    LaunchForChannels<4, 1>(p, args, context);
  } else {
    LaunchForChannels<1, 4>(p, args, context);
  }
}

}  // namespace deltaserve::cuda
