// The elementwise ops: SwiGLU and gates.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gates.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

template <typename T>
void SwiGluRow(const float* gate, const float* up, int64_t hidden, T* out) {
  ForVectors(hidden, [&](int64_t i, auto extent) HWY_ATTR {
    Store(hn::Mul(Silu(Load(gate + i, extent)), Load(up + i, extent)), out + i, extent);
  });
}

void SwiGluRows(const SwiGluParams& p, int64_t begin, int64_t end) {
  const int64_t hidden = p.out.dim(1);
  VisitDType(p.out.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t t = begin; t < end; ++t) {
      const float* gate = p.gate_up.Row<float>(t);
      SwiGluRow(gate, gate + hidden, hidden, p.out.Row<T>(t));
    }
  });
}

template <typename T>
void HeadNormGateRow(const HeadNormGateParams& p, int64_t t) {
  const int64_t head_dim = p.y.dim(1) / p.num_heads;
  for (int64_t h = 0; h < p.num_heads; ++h) {
    T* y = p.y.Row<T>(t) + h * head_dim;
    float scale = 1;
    if (p.norm_weight) {
      Vec square = hn::Zero(kFloat);
      ForVectors(head_dim, [&](int64_t i, auto extent) HWY_ATTR {
        const Vec y_i = Load(y + i, extent);
        square = hn::MulAdd(y_i, y_i, square);
      });
      scale = 1.0f / std::sqrt(Sum(square) / static_cast<float>(head_dim) + p.norm_eps);
    }
    const float* gate = p.gate ? p.gate.Row<float>(t) + h * head_dim : nullptr;
    ForVectors(head_dim, [&](int64_t i, auto extent) HWY_ATTR {
      Vec y_i = Load(y + i, extent);
      if (p.norm_weight) {
        y_i = hn::Mul(hn::Mul(y_i, hn::Set(kFloat, scale)),
                      Load(p.norm_weight.As<float>() + i, extent));
      }
      if (gate != nullptr) y_i = hn::Mul(y_i, Silu(Load(gate + i, extent)));
      Store(y_i, y + i, extent);
    });
  }
}

void HeadNormGateRows(const HeadNormGateParams& p, int64_t begin, int64_t end) {
  VisitDType(p.y.dtype, [&](auto type) {
    for (int64_t t = begin; t < end; ++t) HeadNormGateRow<decltype(type)>(p, t);
  });
}

float TwoLayerGateRow(const TwoLayerGateParams& p, int64_t t) {
  const float* hidden = p.hidden.Row<float>(t);
  Vec sum = hn::Zero(kFloat);
  ForVectors(p.hidden.dim(1), [&](int64_t i, auto extent) HWY_ATTR {
    const Vec z = Load(hidden + i, extent);
    sum = hn::MulAdd(hn::Tanh(kFloat, z), Load(p.out_weight.As<float>() + i, extent), sum);
  });
  return 2.0f / (1.0f + std::exp(-(Sum(sum) + p.out_bias)));
}

void TwoLayerGateRows(const TwoLayerGateParams& p, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) p.beta.As<float>()[t] = TwoLayerGateRow(p, t);
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {
namespace {

HWY_EXPORT(SwiGluRows);
HWY_EXPORT(HeadNormGateRows);
HWY_EXPORT(TwoLayerGateRows);

// Calls rows(params, begin, end) for ranges of [0, count), where a row has `width` entries and
// `grain` entries are worth waking a worker for.
template <typename Params>
void ShareRows(void (*rows)(const Params&, int64_t, int64_t), const Params& p, int64_t count,
               int64_t width, int64_t grain, Workers& workers) {
  workers.ForRanges(count, grain / width + 1,
                    [&](int64_t begin, int64_t end, int) { rows(p, begin, end); });
}

}  // namespace

void SwiGlu(const SwiGluParams& p, Workers& workers) {
  ShareRows(HWY_DYNAMIC_DISPATCH(SwiGluRows), p, p.out.dim(0), p.out.dim(1), 4096, workers);
}

void HeadNormGate(const HeadNormGateParams& p, Workers& workers) {
  ShareRows(HWY_DYNAMIC_DISPATCH(HeadNormGateRows), p, p.y.dim(0), p.y.dim(1), 4096, workers);
}

void TwoLayerGate(const TwoLayerGateParams& p, Workers& workers) {
  ShareRows(HWY_DYNAMIC_DISPATCH(TwoLayerGateRows), p, p.hidden.dim(0), p.hidden.dim(1), 4096,
            workers);
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
