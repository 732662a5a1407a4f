#include "kernels/cpu/cpu_backend.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/test_device.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

TestDevice Cpu(DType dtype, int num_threads = 0) {
  return TestDevice(*MakeCpuBackend({.num_threads = num_threads}), dtype, dtype);
}

// y = x W^T of the first `rows` rows of x.
std::vector<float> Product(TestDevice& device, const PackedLinear& weight,
                           const std::vector<float>& x, int64_t rows) {
  const int64_t in = weight.in_features();
  const TensorView y = device.Output(DType::kF32, {rows, weight.out_features()});
  device.backend().Linear(
      {.weight = &weight,
       .x = device.Model({rows, in}, std::vector<float>(x.begin(), x.begin() + rows * in)),
       .y = y});
  return device.Floats(y);
}

struct LinearShape {
  int64_t in, out;
};

// Few rows, buckets of rows and long prompts take ways of their own; so may many threads.
TEST(CpuBackend, ARowOfAProductIsTheSameForAnyNumberOfRowsAndThreads) {
  Random random(1);
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    for (const LinearShape& shape : {LinearShape{33, 7}, {640, 200}, {1101, 96}}) {
      const std::vector<float> matrix = random.Normals(shape.out * shape.in, 0.1f);
      const std::vector<float> x = random.Normals(300 * shape.in);
      std::vector<float> expected;
      for (int num_threads : {1, 2, 5}) {
        TestDevice device = Cpu(dtype, num_threads);
        const std::unique_ptr<PackedLinear> weight = device.Pack({matrix}, shape.in);
        for (int64_t rows : {300, 1, 2, 3, 7, 16, 17, 40, 65}) {
          const std::vector<float> y = Product(device, *weight, x, rows);
          if (expected.empty()) expected = y;
          EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
              << Name(dtype) << " [" << shape.out << ", " << shape.in << "], " << rows << " rows, "
              << num_threads << " threads";
        }
      }
    }
  }
}

TEST(CpuBackend, PacksFromManyThreadsAtOnce) {
  Random random(2);
  TestDevice device = Cpu(DType::kBF16);
  constexpr int64_t kIn = 96, kOut = 80;
  const std::vector<float> matrix = random.Normals(kOut * kIn), x = random.Normals(kIn);
  const std::vector<float> expected = Product(device, *device.Pack({matrix}, kIn), x, 1);

  std::vector<std::unique_ptr<PackedLinear>> weights(4);
  std::vector<std::thread> threads;
  for (std::unique_ptr<PackedLinear>& weight : weights) {
    threads.emplace_back([&] {
      const HostMatrix host = {matrix.data(), DType::kF32, kOut, kIn};
      weight = *device.backend().PackLinear({&host, 1}, DType::kBF16);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& weight : weights) EXPECT_EQ(Product(device, *weight, x, 1), expected);
}

TEST(CpuBackend, AWeightOutlivesItsBackendsOtherWeights) {
  Random random(3);
  TestDevice device = Cpu(DType::kF32);
  const std::vector<float> matrix = random.Normals(64 * 48), x = random.Normals(48);
  std::unique_ptr<PackedLinear> first = device.Pack({matrix}, 48),
                                second = device.Pack({matrix}, 48);
  EXPECT_GE(first->size_bytes(), int64_t{64 * 48 * 4});
  const std::vector<float> expected = Product(device, *first, x, 1);
  first.reset();
  EXPECT_EQ(Product(device, *second, x, 1), expected);
}

TEST(CpuBackend, RefusesWeightsThatDoNotFitTogether) {
  TestDevice device = Cpu(DType::kF32);
  const std::vector<float> values(64);
  const HostMatrix parts[] = {{values.data(), DType::kF32, 4, 8},
                              {values.data(), DType::kF32, 4, 9}};
  const auto packed = device.backend().PackLinear(parts, DType::kF32);
  EXPECT_EQ(packed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(packed.status().message(), HasSubstr("8 and 9"));
  EXPECT_EQ(device.backend().PackLinear({}, DType::kF32).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CpuBackend, AllocatesZeroesAndNamesTheSizeItCannotHave) {
  TestDevice device = Cpu(DType::kF32);
  for (int64_t size_bytes : {int64_t{0}, int64_t{100}, int64_t{5} << 20}) {
    const absl::StatusOr<Buffer> buffer = device.backend().Allocate(size_bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    for (int64_t i = 0; i < size_bytes; ++i) {
      ASSERT_EQ(static_cast<const char*>(buffer->data())[i], 0);
    }
  }
  for (int64_t size_bytes : {int64_t{1} << 60, std::numeric_limits<int64_t>::max()}) {
    const absl::Status status = device.backend().Allocate(size_bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(status.message(), HasSubstr(std::to_string(size_bytes)));
  }
}

TEST(CpuBackend, AFaultStays) {
  TestDevice device = Cpu(DType::kF32);
  BoundaryParams p;
  p.src = p.dst = device.Zeros(DType::kF32, {1, 9, 4});  // d_v above what is compiled
  device.backend().Boundary(p);
  const absl::Status status = device.backend().Synchronize();
  EXPECT_THAT(status.message(), HasSubstr("d_v = 9"));
  EXPECT_EQ(device.backend().Synchronize(), status);
}

TEST(CpuBackend, RefusesANegativeNumberOfThreads) {
  EXPECT_EQ(MakeCpuBackend({.num_threads = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deltaserve
