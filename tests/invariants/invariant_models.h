// The models that invariants are tested on: every kind of residual, odd sizes, fp32 and bf16.
#ifndef DELTASERVE_TESTS_INVARIANTS_INVARIANT_MODELS_H_
#define DELTASERVE_TESTS_INVARIANTS_INVARIANT_MODELS_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/tensor.h"
#include "server/model/config.h"
#include "tests/support/random_source.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {

// Smaller and larger than the tiles of a matrix product, and never a multiple of them.
enum class ModelSize { kTiny, kSmall };

using InvariantModel = std::tuple<ResidualKind, ModelSize, DType>;

class InvariantTest : public testing::TestWithParam<InvariantModel> {
 protected:
  static constexpr int64_t kVocab = 331;
  static constexpr int64_t kContext = 160;

  void SetUp() override;

  DType dtype() const { return std::get<DType>(GetParam()); }
  std::filesystem::path model_dir() const { return dir_.path(); }
  static std::unique_ptr<Backend> MakeBackend(int num_threads);
  static std::vector<int32_t> RandomTokens(RandomSource& random, int64_t count);

 private:
  TempDir dir_;
};

std::string InvariantModelName(const testing::TestParamInfo<InvariantModel>& info);

// Of every kind, size and dtype.
std::vector<InvariantModel> AllInvariantModels();

// Equal to the last bit, and finite.
void ExpectSameBits(const std::vector<float>& actual, const std::vector<float>& expected,
                    const char* what);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_INVARIANTS_INVARIANT_MODELS_H_
