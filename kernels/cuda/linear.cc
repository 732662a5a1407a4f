#include "kernels/cuda/linear.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace deltaserve::cuda {
namespace {

float AsFloat(const HostMatrix& part, int64_t index) {
  if (part.dtype == DType::kF32) return static_cast<const float*>(part.data)[index];
  return FromBFloat16(static_cast<const uint16_t*>(part.data)[index]);
}

// Row `row` of the part as `dtype`, then zeros.
void ConvertRow(const HostMatrix& part, int64_t row, DType dtype, int64_t in_stride, char* to) {
  const int64_t element = SizeBytes(dtype), begin = row * part.in;
  if (part.dtype == dtype) {
    std::memcpy(to, static_cast<const char*>(part.data) + begin * element, part.in * element);
  } else if (dtype == DType::kF32) {
    auto* values = reinterpret_cast<float*>(to);
    for (int64_t i = 0; i < part.in; ++i) values[i] = AsFloat(part, begin + i);
  } else {
    auto* values = reinterpret_cast<uint16_t*>(to);
    for (int64_t i = 0; i < part.in; ++i) values[i] = ToBFloat16(AsFloat(part, begin + i));
  }
  std::memset(to + part.in * element, 0, (in_stride - part.in) * element);
}

}  // namespace

absl::Status CheckParts(const std::string& device, absl::Span<const HostMatrix> parts,
                        DType dtype) {
  const auto held = [](DType type) { return type == DType::kF32 || type == DType::kBF16; };
  if (!held(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat(device, ": weights are held as fp32 or bf16, not ", std::string(Name(dtype))));
  }
  if (parts.empty()) return absl::InvalidArgumentError(device + ": a linear without parts");
  for (const HostMatrix& part : parts) {
    if (part.in != parts[0].in) {
      return absl::InvalidArgumentError(
          absl::StrCat(device, ": stacked weights differ in their number of inputs: ", parts[0].in,
                       " and ", part.in));
    }
    if (!held(part.dtype)) {
      return absl::InvalidArgumentError(
          absl::StrCat(device, ": cannot pack a weight of ", std::string(Name(part.dtype))));
    }
  }
  return absl::OkStatus();
}

void UploadParts(absl::Span<const HostMatrix> parts, DType dtype, int64_t in_stride,
                 void* destination, StagedCopies& copies) {
  const int64_t row_bytes = in_stride * SizeBytes(dtype);
  const int64_t rows_at_once = std::max<int64_t>(StagedCopies::kMaxBytes / row_bytes, 1);
  auto* to = static_cast<char*>(destination);
  for (const HostMatrix& part : parts) {
    for (int64_t row = 0; row < part.out; row += rows_at_once) {
      const int64_t count = std::min(rows_at_once, part.out - row);
      char* reserved = copies.Reserve(count * row_bytes);
      if (reserved == nullptr) return;
      for (int64_t r = 0; r < count; ++r) {
        ConvertRow(part, row + r, dtype, in_stride, reserved + r * row_bytes);
      }
      copies.Commit(to, reserved, count * row_bytes);
      to += count * row_bytes;
    }
  }
}

}  // namespace deltaserve::cuda
