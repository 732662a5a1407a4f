#include <cassert>
#include <cstring>

#include "kernels/reference/reference_ops.h"

namespace deltaserve::reference {
namespace {

int64_t RowBytes(const TensorView& view) {
  int64_t bytes = SizeBytes(view.dtype);
  for (int axis = 1; axis < view.shape.rank(); ++axis) bytes *= view.dim(axis);
  return bytes;
}

char* RowData(const TensorView& view, int64_t row) {
  return view.As<char>() + row * view.row_stride * SizeBytes(view.dtype);
}

}  // namespace

float Dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const float mean_square = Dot(x, x, n) / static_cast<float>(n);
  const float root = std::sqrt(mean_square + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = weight[i] * x[i] / root;
}

void Linear(const LinearParams& p) {
  const auto& weight = static_cast<const ReferenceLinear&>(*p.weight);
  assert(p.x.dtype == DType::kF32 && p.y.dtype == DType::kF32);
  assert(p.x.dim(1) == weight.in_features() && p.y.dim(1) == weight.out_features());
  for (int64_t row = 0; row < p.x.dim(0); ++row) {
    for (int64_t out = 0; out < weight.out_features(); ++out) {
      p.y.Row<float>(row)[out] = Dot(p.x.Row<float>(row), weight.row(out), weight.in_features());
    }
  }
}

void SwiGlu(const SwiGluParams& p) {
  const int64_t hidden = p.out.dim(1);
  for (int64_t t = 0; t < p.out.dim(0); ++t) {
    const float* gate = p.gate_up.Row<float>(t);
    const float* up = gate + hidden;
    for (int64_t i = 0; i < hidden; ++i) p.out.Row<float>(t)[i] = Silu(gate[i]) * up[i];
  }
}

void GatherRows(const GatherRowsParams& p) {
  for (int64_t r = 0; r < p.out.dim(0); ++r) {
    std::memcpy(RowData(p.out, r), RowData(p.x, p.rows.As<int32_t>()[r]), RowBytes(p.out));
  }
}

void CopyRows(const CopyRowsParams& p) {
  for (int64_t m = 0; m < p.pairs.dim(0); ++m) {
    const int32_t* pair = p.pairs.Row<int32_t>(m);
    std::memcpy(RowData(p.data, pair[1]), RowData(p.data, pair[0]), RowBytes(p.data));
  }
}

}  // namespace deltaserve::reference
