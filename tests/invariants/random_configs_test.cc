// Two hundred random configurations, every key of FORMAT.md 1.1 in each of its forms: the CPU
// backend says what the reference says.
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/model_harness.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/random_source.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

constexpr uint64_t kNumConfigs = 200;
constexpr int64_t kTokens = 24;
// fp32 sums in another order, through up to three layers, whose normalisations and gates magnify
// the difference. Relative to the values' standard deviation.
constexpr double kTolerance = 2e-4;

double StandardDeviation(const std::vector<float>& values) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / values.size();
  double sum = 0;
  for (const float value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / values.size());
}

void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected,
                 double tolerance, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance) << what << " " << i;
  }
}

class RandomConfigs : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomConfigs, CpuAgreesWithTheReference) {
  const ModelConfig config = RandomConfig(GetParam());
  const TempDir dir;
  ASSERT_TRUE(WriteRandomCheckpoint(dir.path(), config, GetParam()).ok());
  RandomSource random(GetParam());
  std::vector<int32_t> tokens(kTokens);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random.Integer(0, config.vocab_size - 1));
  }
  const auto forward = [&](std::unique_ptr<Backend> backend, std::vector<int64_t> chunks) {
    const auto harness = ModelHarness::Load(std::move(backend), dir.path(), DType::kF32, kTokens);
    EXPECT_TRUE(harness.ok()) << harness.status();
    return (*harness)->Forward(tokens, chunks);
  };
  const ChunkOutputs expected = forward(MakeReferenceBackend(), {kTokens});
  const ChunkOutputs actual = forward(*MakeCpuBackend({.num_threads = 1}), {17, 1, 6});
  ExpectClose(actual.logits, expected.logits, kTolerance * StandardDeviation(expected.logits),
              "logit");
  if (!config.is_ddl()) return;
  ExpectClose(actual.beta, expected.beta, kTolerance, "beta");  // in (0, 2)
  ExpectClose(actual.proj, expected.proj, kTolerance * (1 + StandardDeviation(expected.proj)),
              "proj");
  ExpectClose(actual.v, expected.v, kTolerance * (1 + StandardDeviation(expected.v)), "v");
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomConfigs, testing::Range<uint64_t>(0, kNumConfigs));

}  // namespace
}  // namespace deltaserve
