// Tensors as every room sees them: a dtype, a shape, and a pointer somebody else owns.
#ifndef DELTASERVE_KERNELS_TENSOR_H_
#define DELTASERVE_KERNELS_TENSOR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

namespace deltaserve {

// kF16 occurs in checkpoints only; a backend computes in kF32 or kBF16.
enum class DType : uint8_t { kF32, kBF16, kF16, kI32 };

int64_t SizeBytes(DType dtype);
std::string_view Name(DType dtype);  // "fp32", "bf16", "fp16", "int32"

// Up to four axes, the last one contiguous. A shape of rank 0 is a scalar.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  int64_t NumElements() const;
  std::string ToString() const;  // "[3, 64]"
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<int64_t, 4> dims_{};
  int rank_ = 0;
};

// Non-owning. Row-major; consecutive entries of the first axis may lie further apart than a dense
// layout needs (`row_stride`, in elements), so a block of columns of a matrix is a view too.
// A default-constructed view is absent (`!view`), which is how optional operands are left out.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t row_stride = 0;

  TensorView() = default;
  TensorView(void* data, DType dtype, Shape shape);  // dense

  explicit operator bool() const { return data != nullptr; }
  int64_t dim(int axis) const { return shape[axis]; }
  bool dense() const;
  int64_t SizeBytes() const;  // of a dense view

  // Rows [begin, begin + count) of the first axis.
  TensorView Rows(int64_t begin, int64_t count) const;
  // Columns [begin, begin + count) of a matrix.
  TensorView Columns(int64_t begin, int64_t count) const;
  // The same dense data in another shape with as many elements.
  TensorView Reshaped(Shape new_shape) const;

  template <typename T>
  T* Row(int64_t row) const {
    return static_cast<T*>(data) + row * row_stride;
  }
  template <typename T>
  T* As() const {
    return static_cast<T*>(data);
  }
};

// Owns a block of one backend's memory; frees it through that backend, which must outlive it.
class Buffer {
 public:
  using Deleter = std::function<void(void*)>;

  Buffer() = default;
  Buffer(void* data, int64_t size_bytes, Deleter deleter);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  void* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }
  // A dense view of the buffer's beginning. It must fit (CHECKed in debug builds).
  TensorView View(DType dtype, Shape shape) const;

 private:
  void* data_ = nullptr;
  int64_t size_bytes_ = 0;
  Deleter deleter_;
};

// fp32 -> bf16, to nearest, ties to even; NaN stays NaN. The one rounding used by every backend.
uint16_t ToBFloat16(float value);
float FromBFloat16(uint16_t bits);
float FromFloat16(uint16_t bits);

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_TENSOR_H_
