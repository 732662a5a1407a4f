#include "kernels/cpu/linear.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/convert.h"

namespace deltaserve::cpu {

absl::Status CannotAllocate(int64_t size_bytes) {
  return absl::ResourceExhaustedError(
      absl::StrCat("cpu: cannot allocate ", size_bytes, " bytes of host memory"));
}

absl::StatusOr<StackedMatrix> StackParts(absl::Span<const HostMatrix> parts, DType dtype) {
  StackedMatrix stacked;
  stacked.in = parts[0].in;
  for (const HostMatrix& part : parts) stacked.out += part.out;
  if (parts.size() == 1 && parts[0].dtype == dtype) {
    stacked.data = parts[0].data;
    return stacked;
  }
  const int64_t size_bytes = stacked.out * stacked.in * SizeBytes(dtype);
  stacked.owned = AllocateAligned(size_bytes);
  if (stacked.owned == nullptr) return CannotAllocate(size_bytes);
  stacked.data = stacked.owned.get();
  char* to = static_cast<char*>(stacked.owned.get());
  for (const HostMatrix& part : parts) {
    const int64_t count = part.out * part.in;
    Convert(part.data, part.dtype, to, dtype, count);
    to += count * SizeBytes(dtype);
  }
  return stacked;
}

}  // namespace deltaserve::cpu
