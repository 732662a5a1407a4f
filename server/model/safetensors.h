// Reads safetensors files: named arrays behind a JSON header (FORMAT.md 1).
#ifndef DELTASERVE_SERVER_MODEL_SAFETENSORS_H_
#define DELTASERVE_SERVER_MODEL_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/tensor.h"

namespace deltaserve {

struct TensorEntry {
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16
  Shape shape;
  int64_t offset_bytes = 0;  // from the start of the data, which follows the header
  int64_t size_bytes = 0;    // of all its elements
};

using TensorTable = std::map<std::string, TensorEntry, std::less<>>;

// Parses a header's JSON and checks it against the size of the data behind it: each tensor's span
// must be what its dtype and shape ask for, and the spans must tile the data without overlap or
// gap. INVALID_ARGUMENT names the tensor.
absl::StatusOr<TensorTable> ParseSafetensorsHeader(std::string_view json, int64_t data_size_bytes);

// An open file whose header has been checked. It is read, never mapped, so that a file cut short
// while it is in use gives an error and no SIGBUS. Any number of threads may read at once.
class SafetensorsFile {
 public:
  // Errors name the file, and the tensor where there is one: NOT_FOUND or INVALID_ARGUMENT.
  static absl::StatusOr<SafetensorsFile> Open(const std::filesystem::path& path);

  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&& other) noexcept;
  ~SafetensorsFile();

  const std::filesystem::path& path() const { return path_; }
  const TensorTable& tensors() const { return tensors_; }
  // nullptr if there is none of this name.
  const TensorEntry* Find(std::string_view name) const;

  // Fills `out` with the stored bytes of a tensor, from `offset_bytes` of it on. NOT_FOUND: no such
  // tensor. OUT_OF_RANGE: it does not reach that far. DATA_LOSS: the file no longer holds the
  // bytes.
  absl::Status Read(std::string_view name, int64_t offset_bytes, absl::Span<std::byte> out) const;

 private:
  SafetensorsFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status ReadHeader();

  std::filesystem::path path_;
  int fd_ = -1;
  int64_t data_begin_ = 0;  // byte of the file at which the data begins
  TensorTable tensors_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_SAFETENSORS_H_
