// Vectors of fp32 whatever the memory holds. Included once per instruction set: a file that uses
// this includes hwy/foreach_target.h first, and reaches its functions by dynamic dispatch.
//
// Lanes are fixed within an instruction set and every reduction adds them in one order, so a row's
// result depends on the row alone.
#if defined(DELTASERVE_KERNELS_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_SIMD_INL_H_
#undef DELTASERVE_KERNELS_CPU_SIMD_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/dtype.h"
#include "kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using Vec = hn::Vec<FloatTag>;
constexpr FloatTag kFloat{};
constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

// How much of a vector is in memory: all of it, or the first `count` lanes (the rest read as 0).
struct Whole {};
struct Part {
  int64_t count;
};

// Calls body(i, extent) for vectors that cover [0, count).
template <typename Body>
HWY_INLINE void ForVectors(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Whole());
  if (i < count) body(i, Part{count - i});
}

HWY_INLINE Vec Load(const float* from, Whole) { return hn::LoadU(kFloat, from); }
HWY_INLINE Vec Load(const BFloat16* from, Whole) {
  const hn::Rebind<uint16_t, FloatTag> narrow;
  const hn::RebindToUnsigned<FloatTag> wide;
  const auto bits = hn::LoadU(narrow, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(kFloat, hn::ShiftLeft<16>(hn::PromoteTo(wide, bits)));
}
template <typename T>
HWY_INLINE Vec Load(const T* from, Part part) {
  alignas(64) T lanes[kLanes] = {};
  std::memcpy(lanes, from, part.count * sizeof(T));
  return Load(lanes, Whole());
}

// As ToBFloat16(): to nearest, ties to even, NaN stays NaN. Highway's own demotion truncates on
// some instruction sets, and AVX-512's flushes subnormals.
HWY_INLINE Vec RoundToBFloat16(Vec v) {
  const hn::RebindToUnsigned<FloatTag> wide;
  const auto bits = hn::BitCast(wide, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1u));
  const auto nearest = hn::Add(hn::Add(bits, hn::Set(wide, 0x7fffu)), odd);
  const auto quiet = hn::Or(bits, hn::Set(wide, 0x400000u));
  const auto rounded = hn::IfThenElse(hn::RebindMask(wide, hn::IsNaN(v)), quiet, nearest);
  return hn::BitCast(kFloat, hn::And(rounded, hn::Set(wide, 0xffff0000u)));
}

// Stores v rounded to the element type and returns what was stored.
HWY_INLINE Vec Store(Vec v, float* to, Whole) {
  hn::StoreU(v, kFloat, to);
  return v;
}
HWY_INLINE Vec Store(Vec v, BFloat16* to, Whole) {
  const hn::Rebind<uint16_t, FloatTag> narrow;
  const hn::RebindToUnsigned<FloatTag> wide;
  const Vec rounded = RoundToBFloat16(v);
  const auto bits = hn::TruncateTo(narrow, hn::ShiftRight<16>(hn::BitCast(wide, rounded)));
  hn::StoreU(bits, narrow, reinterpret_cast<uint16_t*>(to));
  return rounded;
}
template <typename T>
HWY_INLINE Vec Store(Vec v, T* to, Part part) {
  alignas(64) T lanes[kLanes];
  const Vec rounded = Store(v, lanes, Whole());
  std::memcpy(to, lanes, part.count * sizeof(T));
  return rounded;
}

HWY_INLINE float Sum(Vec v) { return hn::GetLane(hn::SumOfLanes(kFloat, v)); }

// e^v; 0 for -inf.
HWY_INLINE Vec Exp(Vec v) { return hn::Exp(kFloat, v); }

HWY_INLINE Vec Silu(Vec v) {
  // Beyond 88 e^-v would leave the range of fp32.
  const Vec bounded = hn::Min(hn::Neg(v), hn::Set(kFloat, 88.0f));
  return hn::Div(v, hn::Add(hn::Set(kFloat, 1.0f), Exp(bounded)));
}

HWY_INLINE Vec Activate(Activation activation, Vec v) {
  const Vec zero = hn::Zero(kFloat);
  switch (activation) {
    case Activation::kIdentity:
      break;
    case Activation::kSilu:
      return Silu(v);
    case Activation::kRelu:
      return hn::IfThenZeroElse(hn::Lt(v, zero), v);
    case Activation::kEluPlusOne:
      return hn::IfThenElse(hn::Gt(v, zero), hn::Add(v, hn::Set(kFloat, 1.0f)),
                            Exp(hn::Min(v, zero)));
  }
  return v;
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // DELTASERVE_KERNELS_CPU_SIMD_INL_H_
