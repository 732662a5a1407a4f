// Writes safetensors files for tests and benchmarks.
#ifndef DELTASERVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
#define DELTASERVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/tensor.h"

namespace deltaserve {

struct TensorToWrite {
  std::string name;
  Shape shape;
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16; values are rounded to it
  // Fills the next values of the tensor, row-major; called until all are written.
  std::function<void(absl::Span<float>)> fill;
};

// Writes the tensors in the order given, in pieces of bounded size.
absl::Status WriteSafetensors(const std::filesystem::path& path,
                              absl::Span<const TensorToWrite> tensors);

// A file of this header and data, however ill they fit.
absl::Status WriteRawSafetensors(const std::filesystem::path& path, std::string_view header,
                                 std::string_view data);

// fp32 -> fp16, to nearest, ties to even.
uint16_t ToFloat16(float value);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
