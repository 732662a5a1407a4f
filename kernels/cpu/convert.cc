#include "kernels/cpu/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/convert.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

template <typename From, typename To>
void ConvertArray(const From* from, To* to, int64_t count) {
  ForVectors(count, [&](int64_t i, auto extent)
                        HWY_ATTR { Store(Load(from + i, extent), to + i, extent); });
}

void ConvertAny(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) {
  VisitDType(from_dtype, [&](auto from_type) {
    VisitDType(to_dtype, [&](auto to_type) {
      ConvertArray(static_cast<const decltype(from_type)*>(from),
                   static_cast<decltype(to_type)*>(to), count);
    });
  });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {

HWY_EXPORT(ConvertAny);

void Convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) {
  HWY_DYNAMIC_DISPATCH(ConvertAny)(from, from_dtype, to, to_dtype, count);
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
