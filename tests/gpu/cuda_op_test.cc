// Every op of the CUDA backend against the reference. Served as it is fast, it leaves two promises
// of the suite to its other form: that a row's bits depend on nothing. GTEST_FILTER leaves those
// out; the tests below say what holds instead.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/gpu/cuda_device.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

OpTestParam Cuda(const char* name, DType dtype, bool row_invariant) {
  return {name, [row_invariant] { return MakeCuda(row_invariant); }, dtype};
}

INSTANTIATE_TEST_SUITE_P(Cuda, OpTest,
                         testing::Values(Cuda("fp32", DType::kF32, kRowInvariant),
                                         Cuda("bf16", DType::kBF16, kRowInvariant),
                                         Cuda("fp32_fast", DType::kF32, kFast),
                                         Cuda("bf16_fast", DType::kBF16, kFast)),
                         OpTestName);

class CudaOpTest : public testing::TestWithParam<DType> {};

// Up to the next power of two of rows there is one algorithm.
TEST_P(CudaOpTest, ARowOfAProductDependsOnTheBucketAlone) {
  const DType dtype = GetParam();
  Random random(1);
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{96, 200}, {170, 64}}) {
    TestDevice device(MakeCuda(kFast), dtype, dtype);
    const auto weight = device.Pack({random.Normals(in * out)}, in);
    const std::vector<float> x = random.Normals(64 * in);
    const auto first_rows = [&](int64_t rows, int64_t wanted) {
      const TensorView y = device.Output(DType::kF32, {rows, out});
      const std::vector<float> input(x.begin(), x.begin() + rows * in);
      device.backend().Linear(
          {.weight = weight.get(), .x = device.Model({rows, in}, input), .y = y});
      return device.Floats(y.Rows(0, wanted));
    };
    for (const int64_t bucket : {4, 16, 64}) {
      const int64_t fewest = bucket / 2 + 1;
      SCOPED_TRACE(absl::StrCat(in, " to ", out, ", ", bucket, " rows"));
      EXPECT_EQ(first_rows(fewest, fewest), first_rows(bucket, fewest));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaOpTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

// Runs of many lengths, from many positions, among single tokens: what tensor cores say beside what
// the plain kernel says.
TEST(CudaAttentionTest, TensorCoresAgreeWithThePlainKernel) {
  Random random(2);
  const Lengths lengths = {200, 1, 70, 129, 64, 33};
  const StepRuns prompt = {{0, 0, 130}, {2, 0, 3}, {3, 0, 64}, {4, 0, 63}};
  const StepRuns mixed = {{0, 130, 70}, {1, 0, 1}, {2, 3, 67}, {3, 64, 65}, {4, 63, 1}, {5, 0, 33}};
  for (const int64_t head_dim : {64, 128}) {
    const int64_t num_heads = 2, width = num_heads * head_dim;
    const TokenRows qkv = TokenRows::Normals(lengths, 3 * width, random);
    const auto run = [&](bool row_invariant) {
      TestDevice device(MakeCuda(row_invariant), DType::kBF16, DType::kBF16);
      const Shape kv_shape = {NumPages(device, lengths), 2, num_heads,
                              device.backend().page_tokens() * head_dim};
      const TensorView kv =
          device.Model(kv_shape, std::vector<float>(kv_shape.NumElements(), 1e4f));
      TokenRows y(lengths, width);
      for (const StepRuns& step : {prompt, mixed}) {
        const int64_t n = NumTokens(step);
        const TensorView rows = device.F32({n, 3 * width}, Rounded(qkv.Gather(step), DType::kBF16));
        PrepareAttentionParams prepare;
        prepare.batch = UploadBatch(device, step, lengths);
        prepare.q = rows.Columns(0, width);
        prepare.k = rows.Columns(width, width);
        prepare.v = rows.Columns(2 * width, width);
        prepare.num_heads = num_heads;
        prepare.kv = kv;
        device.backend().PrepareAttention(prepare);
        const TensorView out = device.Output(DType::kBF16, {n, width});
        device.backend().Attention({.batch = prepare.batch,
                                    .q = prepare.q,
                                    .kv = kv,
                                    .num_heads = num_heads,
                                    .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                                    .y = out});
        y.Scatter(step, device.Floats(out));
      }
      return y;
    };
    SCOPED_TRACE(head_dim);
    // Tensor cores take weights of 8 bits.
    ExpectNear(run(kFast), run(kRowInvariant), {4e-3f, 0x1p-7f}, "y");
  }
}

}  // namespace
}  // namespace deltaserve
