// Every fixture of the paper authors' code in fp32, on every backend (FORMAT.md 6).
#include <algorithm>
#include <memory>
#include <string>
#include <tuple>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "tests/golden/expect_golden.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

constexpr int64_t kMaxTokens = 256;

struct Device {
  std::string name;
  std::unique_ptr<Backend> (*make)();
};

std::unique_ptr<Backend> MakeCpu() { return *MakeCpuBackend({}); }

class Golden : public testing::TestWithParam<std::tuple<Device, std::filesystem::path>> {
 protected:
  void SetUp() override {
    auto fixture = LoadGoldenFixture(std::get<1>(GetParam()));
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    fixture_ = *std::move(fixture);
    auto harness =
        ModelHarness::Load(std::get<0>(GetParam()).make(), fixture_.dir, DType::kF32, kMaxTokens);
    ASSERT_TRUE(harness.ok()) << harness.status();
    harness_ = *std::move(harness);
  }

  GoldenFixture fixture_;
  std::unique_ptr<ModelHarness> harness_;
};

TEST_P(Golden, FullForward) { ExpectFullForward(*harness_, fixture_); }

TEST_P(Golden, GreedyContinuations) { ExpectGreedyContinuations(*harness_, fixture_); }

std::string TestName(const testing::TestParamInfo<Golden::ParamType>& info) {
  std::string name =
      std::get<0>(info.param).name + "_" + std::get<1>(info.param).filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Golden,
                         testing::Combine(testing::Values(Device{"reference",
                                                                 &MakeReferenceBackend},
                                                          Device{"cpu", &MakeCpu}),
                                          testing::ValuesIn(GoldenFixtureDirs())),
                         TestName);

}  // namespace
}  // namespace deltaserve
