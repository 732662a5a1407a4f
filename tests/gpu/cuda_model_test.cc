// Whole models on the CUDA backend: the fixtures of the paper authors' code, and what holds however
// a sequence is cut and whoever shares its steps.
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/errors.h"
#include "tests/golden/expect_golden.h"
#include "tests/gpu/cuda_device.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

constexpr int64_t kMaxTokens = 256;
// bf16 beside itself, where products and attention add in another order.
constexpr double kBF16RmsTolerance = 0.03;

// DELTASERVE_GOLDEN_DIR: where the fixtures are, if not where they were at build time.
std::vector<std::filesystem::path> FixtureDirs() {
  const char* moved = std::getenv("DELTASERVE_GOLDEN_DIR");
  if (moved == nullptr) return GoldenFixtureDirs();
  std::vector<std::filesystem::path> dirs;
  for (const auto& entry : std::filesystem::directory_iterator(moved)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) dirs.push_back(entry.path());
  }
  std::sort(dirs.begin(), dirs.end());
  return dirs;
}

class CudaModel : public testing::TestWithParam<std::tuple<bool, std::filesystem::path>> {
 protected:
  void SetUp() override {
    auto fixture = LoadGoldenFixture(std::get<1>(GetParam()));
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    fixture_ = *std::move(fixture);
  }

  bool row_invariant() const { return std::get<0>(GetParam()); }
  std::unique_ptr<ModelHarness> Load(DType dtype) const {
    auto harness = ModelHarness::Load(MakeCuda(row_invariant()), fixture_.dir, dtype, kMaxTokens);
    if (!harness.ok()) throw std::runtime_error(std::string(harness.status().message()));
    return *std::move(harness);
  }
  const std::vector<int32_t>& longest_prompt() const {
    return std::max_element(
               fixture_.prompts.begin(), fixture_.prompts.end(),
               [](const auto& a, const auto& b) { return a.tokens.size() < b.tokens.size(); })
        ->tokens;
  }

  GoldenFixture fixture_;
};

TEST_P(CudaModel, FullForward) { ExpectFullForward(*Load(DType::kF32), fixture_); }

TEST_P(CudaModel, GreedyContinuations) { ExpectGreedyContinuations(*Load(DType::kF32), fixture_); }

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
  });
}

// In chunks, in single tokens, and among strangers.
TEST_P(CudaModel, AnyChunkingIsTheFullForward) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    SCOPED_TRACE(Name(dtype));
    const auto harness = Load(dtype);
    std::vector<int32_t> tokens = longest_prompt();
    tokens.resize(std::min<size_t>(tokens.size(), 40));
    const int64_t length = static_cast<int64_t>(tokens.size());
    const ChunkOutputs full = harness->Forward(tokens);
    const int64_t sites = 2 * harness->decoder().config().num_hidden_layers;

    std::vector<ChunkOutputs> others;
    others.push_back(harness->Forward(tokens, std::vector<int64_t>(length, 1), /*sequence=*/1));
    if (length > 6) others.push_back(harness->Forward(tokens, {3, length - 5, 1, 1}, 2));
    ChunkOutputs among_strangers;
    for (int64_t first = 0; first < length;) {
      const int64_t count = std::min<int64_t>(length - first, first % 3 == 0 ? 1 : 5);
      const auto outputs = harness->Step({{3, tokens, 0, std::min<int64_t>(length, 2)},
                                          {4, tokens, first, count},
                                          {5, tokens, 0, 1}});
      Append(among_strangers, outputs[1], sites);
      first += count;
    }
    others.push_back(among_strangers);

    for (const ChunkOutputs& other : others) {
      if (row_invariant()) {
        EXPECT_TRUE(SameBits(other.logits, full.logits));
        EXPECT_TRUE(SameBits(other.beta, full.beta));
        EXPECT_TRUE(SameBits(other.proj, full.proj));
        EXPECT_TRUE(SameBits(other.v, full.v));
        continue;
      }
      Errors logits;
      logits.Add(other.logits, full.logits);
      if (dtype == DType::kF32) {
        EXPECT_LE(logits.max(), kGoldenLogitTolerance);
      } else {
        EXPECT_LE(logits.rms(), kBF16RmsTolerance);
      }
    }
  }
}

std::string TestName(const testing::TestParamInfo<CudaModel::ParamType>& info) {
  std::string name = std::get<0>(info.param) ? "row_invariant_" : "fast_";
  name += std::get<1>(info.param).filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, CudaModel,
                         testing::Combine(testing::Values(kRowInvariant, kFast),
                                          testing::ValuesIn(FixtureDirs())),
                         TestName);

}  // namespace
}  // namespace deltaserve
