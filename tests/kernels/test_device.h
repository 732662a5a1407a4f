// A backend as the kernel tests use it: operands go up from vectors of floats, results come back.
#ifndef DELTASERVE_TESTS_KERNELS_TEST_DEVICE_H_
#define DELTASERVE_TESTS_KERNELS_TEST_DEVICE_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace deltaserve {

// Seeded; the same numbers on every run.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int64_t Int(int64_t low, int64_t high);  // both included
  float Uniform(float low, float high);
  float Normal();
  bool Chance(double probability) { return Uniform(0, 1) < probability; }
  std::vector<float> Normals(int64_t count, float scale = 1);
  template <typename T>
  T Pick(const std::vector<T>& from) {
    return from[Int(0, static_cast<int64_t>(from.size()) - 1)];
  }

 private:
  std::mt19937_64 engine_;
};

// Values as they are after a round trip through `dtype`.
std::vector<float> Rounded(std::vector<float> values, DType dtype);

// Views stay valid as long as the device.
class TestDevice {
 public:
  // Model-dtype operands are rounded to `precision` and then held as `storage`: the reference gets
  // (kF32, kBF16) where a bf16 backend gets (kBF16, kBF16), so both see the same numbers.
  TestDevice(std::unique_ptr<Backend> backend, DType storage, DType precision)
      : backend_(std::move(backend)), storage_(storage), precision_(precision) {}

  Backend& backend() { return *backend_; }
  DType storage() const { return storage_; }
  DType precision() const { return precision_; }

  TensorView F32(Shape shape, const std::vector<float>& values, int64_t padding = 0);
  TensorView I32(Shape shape, const std::vector<int32_t>& values);
  // `padding` elements of NaN follow each row, so that the rows are strided.
  TensorView Model(Shape shape, const std::vector<float>& values, int64_t padding = 0);
  // Filled with garbage that no op writes.
  TensorView Output(DType dtype, Shape shape);
  TensorView Zeros(DType dtype, Shape shape);
  std::unique_ptr<PackedLinear> Pack(const std::vector<std::vector<float>>& parts, int64_t in);

  // Wait for the ops before them.
  std::vector<float> Floats(const TensorView& view);
  std::vector<int32_t> Ints(const TensorView& view);

 private:
  TensorView Upload(DType dtype, Shape shape, const std::vector<float>& values, int64_t padding);
  TensorView Own(DType dtype, Shape shape, int64_t row_stride);

  std::unique_ptr<Backend> backend_;
  DType storage_;
  DType precision_;
  std::vector<Buffer> buffers_;  // freed before the backend
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_KERNELS_TEST_DEVICE_H_
