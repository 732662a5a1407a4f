// The golden fixtures of tests/golden, as FORMAT.md 1 describes them.
#ifndef DELTASERVE_TESTS_SUPPORT_GOLDEN_FIXTURE_H_
#define DELTASERVE_TESTS_SUPPORT_GOLDEN_FIXTURE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace deltaserve {

struct GoldenTensor {
  Shape shape;
  std::vector<float> values;  // row-major
};

struct GoldenPrompt {
  std::string name;  // "p0", ...: prefix of its tensors
  std::vector<int32_t> tokens;
  std::vector<double> token_logprobs;  // of tokens[1..]
  double loglik = 0;
  std::vector<int32_t> argmax;
  std::vector<int32_t> greedy;
  double greedy_min_margin = 0;
  bool traced = false;
};

struct GoldenFixture {
  std::filesystem::path dir;  // a model folder too
  std::string ddl_variant;
  bool prefix_consistent = true;
  std::vector<GoldenPrompt> prompts;
  std::map<std::string, GoldenTensor, std::less<>> tensors;

  // "logits", "beta", "x_in", ... of a prompt; nullptr where the fixture has none.
  const GoldenTensor* Find(const GoldenPrompt& prompt, std::string_view tensor) const;
};

// The model folders of tests/golden, sorted by name.
std::vector<std::filesystem::path> GoldenFixtureDirs();

absl::StatusOr<GoldenFixture> LoadGoldenFixture(const std::filesystem::path& dir);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_GOLDEN_FIXTURE_H_
