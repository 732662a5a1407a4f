#include <algorithm>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.cuh"

namespace deltaserve::cuda {
namespace {

template <typename T>
void LaunchSwiGlu(const SwiGluParams& p, const SwiGluArgs& args, OpContext& context) {
  constexpr int64_t kWide = 4;
  const bool wide = Aligned(p.gate_up, kWide) && Aligned(p.out, kWide) && args.hidden % kWide == 0;
  const unsigned blocks = Blocks(args.hidden, kBlockThreads * (wide ? kWide : 1));
  const LaunchShape shape = {{blocks, Unsigned(p.out.dim(0)), 1}, kBlockThreads, 0};
  context.stream.Launch(wide ? &SwiGluKernel<T, kWide> : &SwiGluKernel<T, 1>, shape, args);
}

int64_t RowBytes(const TensorView& view) {
  int64_t bytes = SizeBytes(view.dtype);
  for (int axis = 1; axis < view.shape.rank(); ++axis) bytes *= view.dim(axis);
  return bytes;
}

void LaunchMoveRows(MoveRowsArgs args, int64_t num_rows, int64_t row_bytes, OpContext& context) {
  const int64_t all = reinterpret_cast<int64_t>(args.from) | reinterpret_cast<int64_t>(args.to) |
                      args.from_stride_bytes | args.to_stride_bytes | row_bytes;
  const int64_t unit_bytes = all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 2;
  args.row_units = row_bytes / unit_bytes;
  const unsigned blocks = std::min(Blocks(args.row_units, kBlockThreads), 64u);
  const LaunchShape shape = {{blocks, Unsigned(num_rows), 1}, kBlockThreads, 0};
  if (unit_bytes == 16) {
    context.stream.Launch(&MoveRowsKernel<uint4>, shape, args);
  } else if (unit_bytes == 4) {
    context.stream.Launch(&MoveRowsKernel<uint32_t>, shape, args);
  } else {
    context.stream.Launch(&MoveRowsKernel<uint16_t>, shape, args);
  }
}

}  // namespace

void SwiGlu(const SwiGluParams& p, OpContext& context) {
  const SwiGluArgs args = {.gate_up = p.gate_up.As<float>(),
                           .out = p.out.data,
                           .gate_up_stride = p.gate_up.row_stride,
                           .out_stride = p.out.row_stride,
                           .hidden = p.out.dim(1)};
  if (p.out.dtype == DType::kBF16) {
    LaunchSwiGlu<BFloat16>(p, args, context);
  } else {
    LaunchSwiGlu<float>(p, args, context);
  }
}

void GatherRows(const GatherRowsParams& p, OpContext& context) {
  const int64_t element = SizeBytes(p.x.dtype);
  LaunchMoveRows({.from = p.x.As<char>(),
                  .to = p.out.As<char>(),
                  .from_rows = p.rows.As<int32_t>(),
                  .to_rows = nullptr,
                  .index_stride = 1,
                  .from_stride_bytes = p.x.row_stride * element,
                  .to_stride_bytes = p.out.row_stride * element,
                  .row_units = 0},
                 p.out.dim(0), RowBytes(p.out), context);
}

void CopyRows(const CopyRowsParams& p, OpContext& context) {
  const int64_t stride_bytes = p.data.row_stride * SizeBytes(p.data.dtype);
  LaunchMoveRows({.from = p.data.As<char>(),
                  .to = p.data.As<char>(),
                  .from_rows = p.pairs.As<int32_t>(),
                  .to_rows = p.pairs.As<int32_t>() + 1,
                  .index_stride = p.pairs.row_stride,
                  .from_stride_bytes = stride_bytes,
                  .to_stride_bytes = stride_bytes,
                  .row_units = 0},
                 p.pairs.dim(0), RowBytes(p.data), context);
}

void PadRows(const TensorView& x, const TensorView& to, OpContext& context) {
  const PadRowsArgs args = {.from = x.data,
                            .to = to.data,
                            .from_stride = x.row_stride,
                            .to_stride = to.row_stride,
                            .width = static_cast<int32_t>(x.dim(1)),
                            .padded_width = static_cast<int32_t>(to.dim(1))};
  const LaunchShape shape = {
      {Blocks(to.dim(1), kBlockThreads), Unsigned(to.dim(0)), 1}, kBlockThreads, 0};
  context.stream.Launch(
      x.dtype == DType::kBF16 ? &PadRowsKernel<uint16_t> : &PadRowsKernel<uint32_t>, shape, args);
}

void TwoLayerGate(const TwoLayerGateParams& p, OpContext& context) {
  const TwoLayerGateArgs args = {.hidden = p.hidden.As<float>(),
                                 .out_weight = p.out_weight.As<float>(),
                                 .beta = p.beta.As<float>(),
                                 .hidden_stride = p.hidden.row_stride,
                                 .width = static_cast<int32_t>(p.hidden.dim(1)),
                                 .out_bias = p.out_bias};
  context.stream.Launch(&TwoLayerGateKernel, {{Unsigned(p.hidden.dim(0)), 1, 1}, 128, 0}, args);
}

void HeadNormGate(const HeadNormGateParams& p, OpContext& context) {
  const int64_t num_rows = p.y.dim(0) * p.num_heads;
  const HeadNormGateArgs args = {.y = p.y.data,
                                 .norm_weight = p.norm_weight.As<float>(),
                                 .gate = p.gate.As<float>(),
                                 .y_stride = p.y.row_stride,
                                 .gate_stride = p.gate.row_stride,
                                 .num_heads = static_cast<int32_t>(p.num_heads),
                                 .head_dim = static_cast<int32_t>(p.y.dim(1) / p.num_heads),
                                 .num_rows = num_rows,
                                 .norm_eps = p.norm_eps};
  const LaunchShape shape = {{Blocks(num_rows, kBlockThreads / 32), 1, 1}, kBlockThreads, 0};
  context.stream.Launch(
      p.y.dtype == DType::kBF16 ? &HeadNormGateKernel<BFloat16> : &HeadNormGateKernel<float>, shape,
      args);
}

}  // namespace deltaserve::cuda
