// The host's side of the CUDA backend: memory, graphs, faults.
#include "kernels/cuda/cuda_backend.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/runtime.h"
#include "tests/kernels/test_device.h"

namespace deltaserve {
namespace {

using cuda_emulation::NumGraphLaunches;
using testing::HasSubstr;

std::unique_ptr<Backend> Make(double memory_utilization = 0.2) {
  return *MakeCudaBackend({.memory_utilization = memory_utilization});
}

TEST(CudaBackendTest, RefusesWhatItCannotUse) {
  EXPECT_EQ(MakeCudaBackend({.device = 1}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MakeCudaBackend({.device = -1}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MakeCudaBackend({.memory_utilization = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(NumCudaDevices(), 1);
  EXPECT_EQ(Make()->device(), "cuda:0");
}

TEST(CudaBackendTest, HandsOutNoMoreThanItsShare) {
  const int64_t before = cuda_emulation::AllocatedBytes();
  {
    const auto backend = Make(0.1);  // of 4 GiB
    const auto first = backend->Allocate(200 << 20);
    ASSERT_TRUE(first.ok());
    const absl::Status refused = backend->Allocate(200 << 20).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("cannot allocate 209715200 bytes"));
    EXPECT_TRUE(backend->Allocate(100 << 20).ok());
    EXPECT_TRUE(backend->Synchronize().ok());
  }
  EXPECT_EQ(cuda_emulation::AllocatedBytes(), before);
}

TEST(CudaBackendTest, CopiesAsMuchAsThereIs) {
  const auto backend = Make();
  std::vector<int32_t> values((40 << 20) / 4 + 3);  // more than the staging memory
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int32_t>(i * 2654435761u);
  const int64_t size_bytes = static_cast<int64_t>(values.size()) * 4;
  const auto buffer = backend->Allocate(size_bytes);
  ASSERT_TRUE(buffer.ok());
  backend->CopyToDevice(buffer->data(), values.data(), size_bytes);
  std::vector<int32_t> back(values.size());
  ASSERT_TRUE(backend->CopyToHost(back.data(), buffer->data(), size_bytes).ok());
  EXPECT_EQ(back, values);
}

// A step of ten ops on memory that stays where it is.
class Steps {
 public:
  explicit Steps(std::unique_ptr<Backend> backend)
      : device_(std::move(backend), DType::kF32, DType::kF32),
        weight_(device_.Pack({std::vector<float>(16, 0.5f)}, 4)),
        x_(device_.F32({1, 4}, {0, 0, 0, 0})),
        y_(device_.Output(DType::kF32, {1, 4})) {}

  std::vector<float> Run(std::vector<float> input, int num_ops = 10) {
    device_.backend().CopyToDevice(x_.data, input.data(), 16);
    for (int n = 0; n < num_ops; ++n) {
      device_.backend().Linear({.weight = weight_.get(), .x = x_, .y = y_});
    }
    return device_.Floats(y_);
  }
  Backend& backend() { return device_.backend(); }

 private:
  TestDevice device_;
  std::unique_ptr<PackedLinear> weight_;
  TensorView x_, y_;
};

TEST(CudaBackendTest, AStepThatComesAgainIsAGraph) {
  Steps steps(Make());
  const int64_t before = NumGraphLaunches();
  EXPECT_EQ(steps.Run({1, 0, 0, 1}), std::vector<float>(4, 1));
  EXPECT_EQ(NumGraphLaunches(), before);
  for (int n = 1; n < 4; ++n) {
    const float value = static_cast<float>(n);
    EXPECT_EQ(steps.Run({value, 0, 2, 0}), std::vector<float>(4, (value + 2) / 2));
    EXPECT_EQ(NumGraphLaunches(), before + n);
  }
  // Another step, and the first again.
  EXPECT_EQ(steps.Run({4, 4, 4, 4}, 9), std::vector<float>(4, 8));
  EXPECT_EQ(NumGraphLaunches(), before + 3);
  EXPECT_EQ(steps.Run({1, 1, 1, 1}), std::vector<float>(4, 2));
  EXPECT_EQ(NumGraphLaunches(), before + 4);
}

TEST(CudaBackendTest, MoreStepsThanGraphsAreKept) {
  Steps steps(Make());
  for (int round = 0; round < 3; ++round) {
    for (int num_ops = 8; num_ops < 8 + 150; ++num_ops) {
      ASSERT_EQ(steps.Run({1, 2, 3, 4}, num_ops), std::vector<float>(4, 5));
    }
  }
}

TEST(CudaBackendTest, AFaultIsTerminal) {
  Steps steps(Make());
  steps.Run({1, 0, 0, 1});
  const auto buffer = steps.backend().Allocate(64);
  ASSERT_TRUE(buffer.ok());
  char bytes[64];
  cuda_emulation::Break();
  steps.backend().CopyToDevice(buffer->data(), bytes, 64);
  const absl::Status status = steps.backend().Synchronize();
  cuda_emulation::Heal();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cuda:0"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("cudaErrorIllegalAddress"));
  // Also when the device would answer again.
  EXPECT_EQ(steps.backend().Synchronize(), status);
  EXPECT_EQ(steps.backend().CopyToHost(bytes, buffer->data(), 64), status);
}

TEST(CudaBackendTest, WhatIsTooLargeIsAFaultThatSaysSo) {
  TestDevice device(Make(), DType::kF32, DType::kF32);
  const TensorView x = device.F32({1, 1, 4104}, std::vector<float>(4104));
  BoundaryParams p;
  p.batch.num_tokens = 1;
  p.src = p.dst = x;
  p.c = device.Output(DType::kF32, {1, 4104});
  p.norm_weight = device.F32({4104}, std::vector<float>(4104));
  device.backend().Boundary(p);
  EXPECT_THAT(std::string(device.backend().Synchronize().message()),
              HasSubstr("4104 x 1 is above the largest supported"));
}

}  // namespace
}  // namespace deltaserve
