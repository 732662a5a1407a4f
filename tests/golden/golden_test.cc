// Every fixture of the paper authors' code, on every backend (FORMAT.md 6 has the tolerances).
#include <cmath>
#include <memory>
#include <numeric>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

constexpr int64_t kMaxTokens = 256;

struct Device {
  std::string name;
  DType dtype;
  std::unique_ptr<Backend> (*make)();
  // Largest and root-mean-square error allowed.
  double max_logit_error, rms_logit_error, gate_error, loglik_error;
};

std::unique_ptr<Backend> MakeCpu() { return *MakeCpuBackend({}); }

class Golden : public testing::TestWithParam<std::tuple<Device, std::filesystem::path>> {
 protected:
  void SetUp() override {
    auto fixture = LoadGoldenFixture(std::get<1>(GetParam()));
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    fixture_ = *std::move(fixture);
    auto harness = ModelHarness::Load(device().make(), fixture_.dir, device().dtype, kMaxTokens);
    ASSERT_TRUE(harness.ok()) << harness.status();
    harness_ = *std::move(harness);
  }
  const Device& device() const { return std::get<0>(GetParam()); }

  GoldenFixture fixture_;
  std::unique_ptr<ModelHarness> harness_;
};

double MaxError(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double error = 0;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    // NaN must fail, so no std::max.
    const double here = std::abs(double{actual[i]} - expected[i]);
    if (!(here <= error)) error = here;
  }
  return error;
}

double RmsError(const std::vector<float>& actual, const std::vector<float>& expected) {
  double sum = 0;
  for (size_t i = 0; i < actual.size(); ++i) sum += std::pow(double{actual[i]} - expected[i], 2);
  return std::sqrt(sum / actual.size());
}

double LogProb(absl::Span<const float> logits, int32_t id) {
  double sum = 0;
  const double largest = *std::max_element(logits.begin(), logits.end());
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits[id] - largest - std::log(sum);
}

TEST_P(Golden, Logits) {
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    SCOPED_TRACE(prompt.name);
    const ChunkOutputs outputs = harness_->Forward(prompt.tokens);
    const GoldenTensor* expected = fixture_.Find(prompt, "logits");
    ASSERT_NE(expected, nullptr);
    EXPECT_LE(MaxError(outputs.logits, expected->values), device().max_logit_error);
    EXPECT_LE(RmsError(outputs.logits, expected->values), device().rms_logit_error);
  }
}

TEST_P(Golden, LogLikelihoods) {
  const int64_t vocab = harness_->decoder().config().vocab_size;
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    SCOPED_TRACE(prompt.name);
    const ChunkOutputs outputs = harness_->Forward(prompt.tokens);
    double loglik = 0;
    for (size_t t = 0; t + 1 < prompt.tokens.size(); ++t) {
      loglik += LogProb(absl::MakeConstSpan(outputs.logits).subspan(t * vocab, vocab),
                        prompt.tokens[t + 1]);
    }
    EXPECT_NEAR(loglik, prompt.loglik, device().loglik_error);
  }
}

TEST_P(Golden, Gates) {
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    const GoldenTensor* beta = fixture_.Find(prompt, "beta");
    if (beta == nullptr) continue;  // additive
    SCOPED_TRACE(prompt.name);
    const ChunkOutputs outputs = harness_->Forward(prompt.tokens);
    EXPECT_LE(MaxError(outputs.beta, beta->values), device().gate_error);
    EXPECT_LE(MaxError(outputs.proj, fixture_.Find(prompt, "proj")->values), device().gate_error);
    EXPECT_LE(MaxError(outputs.v, fixture_.Find(prompt, "v")->values), device().gate_error);
  }
}

TEST_P(Golden, GreedyContinuations) {
  if (device().dtype != DType::kF32) return;  // bf16 may pass the margins
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    SCOPED_TRACE(prompt.name);
    EXPECT_EQ(harness_->Greedy(prompt.tokens, prompt.greedy.size()), prompt.greedy);
  }
}

std::string TestName(const testing::TestParamInfo<Golden::ParamType>& info) {
  std::string name =
      std::get<0>(info.param).name + "_" + std::get<1>(info.param).filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Fixtures, Golden,
    testing::Combine(
        testing::Values(Device{"reference", DType::kF32, &MakeReferenceBackend, 2e-4, 2e-4, 1e-4,
                               1e-3},
                        Device{"cpu_fp32", DType::kF32, &MakeCpu, 2e-4, 2e-4, 1e-4, 1e-3},
                        Device{"cpu_bf16", DType::kBF16, &MakeCpu, 0.3, 0.03, 0.3, 0.4}),
        testing::ValuesIn(GoldenFixtureDirs())),
    TestName);

}  // namespace
}  // namespace deltaserve
