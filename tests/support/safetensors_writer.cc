#include "tests/support/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

constexpr int64_t kPieceElements = 64 << 10;

const char* FormatName(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
}

std::string Header(absl::Span<const TensorToWrite> tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const int64_t end = offset + tensor.shape.NumElements() * SizeBytes(tensor.dtype);
    absl::StrAppend(&header, ",\"", tensor.name, "\":{\"dtype\":\"", FormatName(tensor.dtype),
                    "\",\"shape\":", tensor.shape.ToString(), ",\"data_offsets\":[", offset, ",",
                    end, "]}");
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

void WriteHeader(std::ofstream& file, std::string_view header) {
  const uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof(size));
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
}

void WriteValues(std::ofstream& file, DType dtype, absl::Span<const float> values) {
  if (dtype == DType::kF32) {
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
    return;
  }
  std::vector<uint16_t> halves(values.size());
  std::transform(values.begin(), values.end(), halves.begin(),
                 dtype == DType::kF16 ? ToFloat16 : ToBFloat16);
  file.write(reinterpret_cast<const char*>(halves.data()),
             static_cast<std::streamsize>(halves.size() * sizeof(uint16_t)));
}

absl::Status Close(std::ofstream& file, const std::filesystem::path& path) {
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path.string(), ": cannot be written"));
}

}  // namespace

absl::Status WriteSafetensors(const std::filesystem::path& path,
                              absl::Span<const TensorToWrite> tensors) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  WriteHeader(file, Header(tensors));
  std::vector<float> piece;
  for (const TensorToWrite& tensor : tensors) {
    for (int64_t left = tensor.shape.NumElements(); left > 0; left -= piece.size()) {
      piece.resize(std::min(left, kPieceElements));
      tensor.fill(absl::MakeSpan(piece));
      WriteValues(file, tensor.dtype, piece);
    }
  }
  return Close(file, path);
}

absl::Status WriteRawSafetensors(const std::filesystem::path& path, std::string_view header,
                                 std::string_view data) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  WriteHeader(file, header);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  return Close(file, path);
}

uint16_t ToFloat16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // rounds past the largest finite number
  // The spacing of fp16 numbers around the value is 2^(exponent - 10).
  const int exponent = std::max(magnitude == 0 ? -14 : std::ilogb(magnitude), -14);
  const float steps = std::nearbyint(std::ldexp(magnitude, 10 - exponent));
  return static_cast<uint16_t>(sign + ((exponent + 14) << 10) + static_cast<int>(steps));
}

}  // namespace deltaserve
