#include "tests/kernels/test_device.h"

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace deltaserve {
namespace {

int64_t RowElements(const Shape& shape) {
  int64_t count = 1;
  for (int axis = 1; axis < shape.rank(); ++axis) count *= shape[axis];
  return count;
}

std::vector<uint16_t> ToBFloat16s(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (float value : values) bits.push_back(ToBFloat16(value));
  return bits;
}

}  // namespace

int64_t Random::Int(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(engine_);
}

float Random::Uniform(float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(engine_);
}

float Random::Normal() { return std::normal_distribution<float>()(engine_); }

std::vector<float> Random::Normals(int64_t count, float scale) {
  std::vector<float> values(count);
  for (float& value : values) value = scale * Normal();
  return values;
}

std::vector<float> Rounded(std::vector<float> values, DType dtype) {
  if (dtype == DType::kBF16) {
    for (float& value : values) value = FromBFloat16(ToBFloat16(value));
  }
  return values;
}

TensorView TestDevice::Own(DType dtype, Shape shape, int64_t row_stride) {
  const int64_t rows = shape.rank() == 0 ? 1 : shape[0];
  absl::StatusOr<Buffer> buffer = backend_->Allocate(rows * row_stride * SizeBytes(dtype));
  if (!buffer.ok()) throw std::runtime_error(std::string(buffer.status().message()));
  buffers_.push_back(*std::move(buffer));
  TensorView view(buffers_.back().data(), dtype, shape);
  view.row_stride = row_stride;
  return view;
}

TensorView TestDevice::Upload(DType dtype, Shape shape, const std::vector<float>& values,
                              int64_t padding) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), shape.NumElements());
  const int64_t row_size = RowElements(shape);
  const TensorView view = Own(dtype, shape, row_size + padding);
  std::vector<float> padded;
  for (int64_t row = 0; row < shape[0]; ++row) {
    padded.insert(padded.end(), values.begin() + row * row_size,
                  values.begin() + (row + 1) * row_size);
    padded.insert(padded.end(), padding, std::numeric_limits<float>::quiet_NaN());
  }
  const int64_t size_bytes = static_cast<int64_t>(padded.size()) * SizeBytes(dtype);
  if (dtype == DType::kBF16) {
    backend_->CopyToDevice(view.data, ToBFloat16s(padded).data(), size_bytes);
  } else {
    backend_->CopyToDevice(view.data, padded.data(), size_bytes);
  }
  return view;
}

TensorView TestDevice::F32(Shape shape, const std::vector<float>& values, int64_t padding) {
  return Upload(DType::kF32, shape, values, padding);
}

TensorView TestDevice::Model(Shape shape, const std::vector<float>& values, int64_t padding) {
  return Upload(storage_, shape, Rounded(values, precision_), padding);
}

TensorView TestDevice::I32(Shape shape, const std::vector<int32_t>& values) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), shape.NumElements());
  const TensorView view = Own(DType::kI32, shape, RowElements(shape));
  backend_->CopyToDevice(view.data, values.data(), view.SizeBytes());
  return view;
}

TensorView TestDevice::Output(DType dtype, Shape shape) {
  const TensorView view = Own(dtype, shape, RowElements(shape));
  const std::vector<char> garbage(view.SizeBytes(), 0x7f);  // NaN as bf16, 3.4e38 as fp32
  backend_->CopyToDevice(view.data, garbage.data(), view.SizeBytes());
  return view;
}

TensorView TestDevice::Zeros(DType dtype, Shape shape) {
  return Own(dtype, shape, RowElements(shape));
}

std::unique_ptr<PackedLinear> TestDevice::Pack(const std::vector<std::vector<float>>& parts,
                                               int64_t in) {
  std::vector<std::vector<float>> rounded;
  std::vector<HostMatrix> matrices;
  for (const std::vector<float>& part : parts) rounded.push_back(Rounded(part, precision_));
  for (const std::vector<float>& part : rounded) {
    matrices.push_back({part.data(), DType::kF32, static_cast<int64_t>(part.size()) / in, in});
  }
  absl::StatusOr<std::unique_ptr<PackedLinear>> packed = backend_->PackLinear(matrices, storage_);
  if (!packed.ok()) throw std::runtime_error(std::string(packed.status().message()));
  return *std::move(packed);
}

std::vector<float> TestDevice::Floats(const TensorView& view) {
  std::vector<float> values;
  for (int64_t row = 0; row < view.shape[0]; ++row) {
    const TensorView one = view.Rows(row, 1);
    std::vector<char> bytes(one.SizeBytes());
    EXPECT_TRUE(backend_->CopyToHost(bytes.data(), one.data, one.SizeBytes()).ok());
    for (size_t at = 0; at < bytes.size(); at += deltaserve::SizeBytes(view.dtype)) {
      if (view.dtype == DType::kBF16) {
        uint16_t bits;
        std::memcpy(&bits, &bytes[at], sizeof(bits));
        values.push_back(FromBFloat16(bits));
      } else {
        float value;
        std::memcpy(&value, &bytes[at], sizeof(value));
        values.push_back(value);
      }
    }
  }
  return values;
}

std::vector<int32_t> TestDevice::Ints(const TensorView& view) {
  std::vector<int32_t> values(view.shape.NumElements());
  EXPECT_TRUE(backend_->CopyToHost(values.data(), view.data, view.SizeBytes()).ok());
  return values;
}

}  // namespace deltaserve
