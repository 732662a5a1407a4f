#include "kernels/tensor.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace deltaserve {

int64_t SizeBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
  }
  return 0;
}

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "fp32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "fp16";
    case DType::kI32:
      return "int32";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> dims) {
  assert(dims.size() <= dims_.size());
  for (int64_t dim : dims) dims_[rank_++] = dim;
}

int64_t Shape::NumElements() const {
  int64_t count = 1;
  for (int axis = 0; axis < rank_; ++axis) count *= dims_[axis];
  return count;
}

std::string Shape::ToString() const {
  return absl::StrCat("[", absl::StrJoin(dims_.begin(), dims_.begin() + rank_, ", "), "]");
}

namespace {

int64_t RowElements(const Shape& shape) {
  int64_t count = 1;
  for (int axis = 1; axis < shape.rank(); ++axis) count *= shape[axis];
  return count;
}

}  // namespace

TensorView::TensorView(void* data, DType dtype, Shape shape)
    : data(data), dtype(dtype), shape(shape), row_stride(RowElements(shape)) {}

bool TensorView::dense() const {
  return shape.rank() == 0 || shape[0] <= 1 || row_stride == RowElements(shape);
}

int64_t TensorView::SizeBytes() const { return shape.NumElements() * deltaserve::SizeBytes(dtype); }

TensorView TensorView::Rows(int64_t begin, int64_t count) const {
  assert(begin >= 0 && count >= 0 && begin + count <= shape[0]);
  TensorView view = *this;
  view.data = static_cast<char*>(data) + begin * row_stride * deltaserve::SizeBytes(dtype);
  switch (shape.rank()) {
    case 1:
      view.shape = {count};
      break;
    case 2:
      view.shape = {count, shape[1]};
      break;
    case 3:
      view.shape = {count, shape[1], shape[2]};
      break;
    default:
      view.shape = {count, shape[1], shape[2], shape[3]};
  }
  return view;
}

TensorView TensorView::Columns(int64_t begin, int64_t count) const {
  assert(shape.rank() == 2 && begin >= 0 && begin + count <= shape[1]);
  TensorView view = *this;
  view.data = static_cast<char*>(data) + begin * deltaserve::SizeBytes(dtype);
  view.shape = {shape[0], count};
  return view;
}

TensorView TensorView::Reshaped(Shape new_shape) const {
  assert(dense() && new_shape.NumElements() == shape.NumElements());
  return TensorView(data, dtype, new_shape);
}

Buffer::Buffer(void* data, int64_t size_bytes, Deleter deleter)
    : data_(data), size_bytes_(size_bytes), deleter_(std::move(deleter)) {}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      deleter_(std::move(other.deleter_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(deleter_, other.deleter_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) deleter_(data_);
}

TensorView Buffer::View(DType dtype, Shape shape) const {
  TensorView view(data_, dtype, shape);
  assert(view.SizeBytes() <= size_bytes_);
  return view;
}

uint16_t ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FromBFloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

float FromFloat16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

}  // namespace deltaserve
