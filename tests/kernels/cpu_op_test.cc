#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

OpTestParam Cpu(const char* name, DType dtype, int num_threads) {
  auto make_backend = [num_threads] {
    auto backend = MakeCpuBackend({.num_threads = num_threads});
    if (!backend.ok()) throw std::runtime_error(std::string(backend.status().message()));
    return *std::move(backend);
  };
  return {name, make_backend, dtype};
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpTest,
                         testing::Values(Cpu("fp32", DType::kF32, 0), Cpu("bf16", DType::kBF16, 0),
                                         Cpu("fp32_one_thread", DType::kF32, 1),
                                         Cpu("bf16_three_threads", DType::kBF16, 3)),
                         OpTestName);

}  // namespace
}  // namespace deltaserve
