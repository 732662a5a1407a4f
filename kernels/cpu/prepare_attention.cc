#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/prepare_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

// (a, b) -> (a cos - b sin, a sin + b cos) for the pairs of entries n and n + r/2.
void Rotate(const float* cosine, const float* sine, int64_t half, float* head) {
  ForVectors(half, [&](int64_t n, auto extent) HWY_ATTR {
    const Vec a = Load(head + n, extent), b = Load(head + half + n, extent);
    const Vec cos_n = Load(cosine + n, extent), sin_n = Load(sine + n, extent);
    Store(hn::NegMulAdd(b, sin_n, hn::Mul(a, cos_n)), head + n, extent);
    Store(hn::MulAdd(b, cos_n, hn::Mul(a, sin_n)), head + half + n, extent);
  });
}

void NormHead(const float* weight, float eps, int64_t head_dim, float* head) {
  Vec square = hn::Zero(kFloat);
  ForVectors(head_dim, [&](int64_t i, auto extent) HWY_ATTR {
    const Vec z = Load(head + i, extent);
    square = hn::MulAdd(z, z, square);
  });
  const float scale = 1.0f / std::sqrt(Sum(square) / static_cast<float>(head_dim) + eps);
  ForVectors(head_dim, [&](int64_t i, auto extent) HWY_ATTR {
    const Vec z = hn::Mul(Load(head + i, extent), hn::Set(kFloat, scale));
    Store(hn::Mul(z, Load(weight + i, extent)), head + i, extent);
  });
}

void ActivateHead(const float* in, Activation activation, int64_t head_dim, float* head) {
  ForVectors(head_dim, [&](int64_t i, auto extent) HWY_ATTR {
    Store(Activate(activation, Load(in + i, extent)), head + i, extent);
  });
}

template <typename T>
void StoreHead(const float* head, int64_t head_dim, T* out) {
  ForVectors(head_dim, [&](int64_t i, auto extent)
                           HWY_ATTR { Store(Load(head + i, extent), out + i, extent); });
}

// scratch: head_dim floats, then head_dim model numbers.
template <typename T>
void PrepareToken(const PrepareAttentionParams& p, int64_t t, float* scratch) {
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  const int64_t position = p.batch.positions.As<int32_t>()[t];
  const int64_t sequence = p.batch.sequence_of.As<int32_t>()[t];
  const int64_t page = p.batch.page_table.Row<int32_t>(sequence)[position / kPageTokens];
  const int64_t column = position % kPageTokens;
  const int64_t head_page = kPageTokens * head_dim;
  T* keys = p.kv.Row<T>(page);
  T* values = keys + p.num_heads * head_page;
  float* head = scratch;
  T* key = reinterpret_cast<T*>(scratch + head_dim);

  const auto prepare = [&](const float* in, Activation activation, const TensorView& norm,
                           auto* out) {
    ActivateHead(in, activation, head_dim, head);
    if (p.rope_cos) {
      Rotate(p.rope_cos.Row<float>(position), p.rope_sin.Row<float>(position), p.rope_cos.dim(1),
             head);
    }
    if (norm) NormHead(norm.As<float>(), p.norm_eps, head_dim, head);
    StoreHead(head, head_dim, out);
  };
  for (int64_t h = 0; h < p.num_heads; ++h) {
    float* q = p.q.Row<float>(t) + h * head_dim;
    prepare(q, p.q_activation, p.q_norm, q);
    prepare(p.k.Row<float>(t) + h * head_dim, p.k_activation, p.k_norm, key);
    T* key_page = keys + h * head_page + column;
    for (int64_t i = 0; i < head_dim; ++i) key_page[i * kPageTokens] = key[i];

    ActivateHead(p.v.Row<float>(t) + h * head_dim, p.v_activation, head_dim, head);
    StoreHead(head, head_dim, values + h * head_page + column * head_dim);
  }
}

void PrepareTokens(const PrepareAttentionParams& p, int64_t begin, int64_t end, float* scratch) {
  VisitDType(p.kv.dtype, [&](auto type) {
    for (int64_t t = begin; t < end; ++t) PrepareToken<decltype(type)>(p, t, scratch);
  });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {

HWY_EXPORT(PrepareTokens);

void PrepareAttention(const PrepareAttentionParams& p, Workers& workers) {
  constexpr int64_t kGrain = 8192;  // entries of q that are worth waking a worker for
  const int64_t width = p.q.dim(1);
  workers.ReserveScratch(2 * width / p.num_heads * sizeof(float));
  const auto prepare = HWY_DYNAMIC_DISPATCH(PrepareTokens);
  workers.ForRanges(p.batch.num_tokens, kGrain / width + 1,
                    [&](int64_t begin, int64_t end, int worker) {
                      prepare(p, begin, end, workers.Scratch<float>(worker));
                    });
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
