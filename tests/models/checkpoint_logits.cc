// Prints what a checkpoint says after each of some tokens, for tests in another language to
// compare.
//
//   checkpoint_logits cpu|reference FOLDER TOKEN...
//
// Computes in fp32, as `deltaserve --dtype fp32` does, and writes the logits [T, V] to the standard
// output as raw floats of this machine. Exit code 2: wrong arguments; 1: the folder does not load.
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(std::string_view name) {
  if (name == "cpu") return MakeCpuBackend({.num_threads = 1});
  if (name == "reference") return MakeReferenceBackend();
  return absl::InvalidArgumentError("the backend is neither cpu nor reference");
}

int Main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: checkpoint_logits cpu|reference FOLDER TOKEN...\n");
    return 2;
  }
  std::vector<int32_t> tokens;
  for (int i = 3; i < argc; ++i) {
    int32_t token = 0;
    if (!absl::SimpleAtoi(argv[i], &token)) {
      std::fprintf(stderr, "not a token: %s\n", argv[i]);
      return 2;
    }
    tokens.push_back(token);
  }
  auto backend = MakeBackend(argv[1]);
  if (!backend.ok()) {
    std::fprintf(stderr, "%s\n", backend.status().ToString().c_str());
    return 2;
  }
  const auto harness = ModelHarness::Load(*std::move(backend), argv[2], DType::kF32, tokens.size());
  if (!harness.ok()) {
    std::fprintf(stderr, "%s\n", harness.status().ToString().c_str());
    return 1;
  }
  const std::vector<float> logits = (*harness)->Forward(tokens).logits;
  return std::fwrite(logits.data(), sizeof(float), logits.size(), stdout) == logits.size() ? 0 : 1;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) { return deltaserve::Main(argc, argv); }
