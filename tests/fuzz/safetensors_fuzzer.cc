// A safetensors header: whatever it says, parsing it ends in tensors that tile the data or in an
// error. The data's size comes from the first byte.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/model/safetensors.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int64_t data_size_bytes = data[0];
  const std::string_view header(reinterpret_cast<const char*>(data + 1), size - 1);
  const absl::StatusOr<deltaserve::TensorTable> tensors =
      deltaserve::ParseSafetensorsHeader(header, data_size_bytes);
  if (!tensors.ok()) return 0;
  int64_t covered = 0;
  for (const auto& [name, entry] : *tensors) {
    Require(entry.offset_bytes >= 0 && entry.offset_bytes + entry.size_bytes <= data_size_bytes);
    Require(entry.shape.NumElements() * SizeBytes(entry.dtype) == entry.size_bytes);
    covered += entry.size_bytes;
  }
  Require(covered == data_size_bytes);
  return 0;
}
