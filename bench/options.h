#ifndef DELTASERVE_BENCH_OPTIONS_H_
#define DELTASERVE_BENCH_OPTIONS_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "server/model/config.h"

namespace deltaserve::bench {

// What is measured; the flags of main.cc.
struct Options {
  std::string shape = "small";
  std::vector<ResidualKind> residuals;
  DType dtype = DType::kBF16;
  std::vector<int64_t> batches = {1, 8, 32};
  int64_t context = 128;
  int repeats = 9;
  int threads = 0;             // one a processor
  std::string device = "cpu";  // of the server
  bool engine = true;
  bool server = true;
  std::filesystem::path models_dir;
  std::string commit;

  // The server's streams generate so many tokens after a prompt as makes their contexts
  // `context` tokens on average.
  static constexpr int64_t kGeneratedTokens = 64;
  int64_t PromptTokens() const {
    return context > kGeneratedTokens / 2 ? context - kGeneratedTokens / 2 : 1;
  }
};

inline constexpr int64_t kPrefillTokens = 512;

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_OPTIONS_H_
