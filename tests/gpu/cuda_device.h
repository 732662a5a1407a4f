// The device that the tests of the CUDA backend run on: a GPU or, linked with the emulation, the
// CPU.
#ifndef DELTASERVE_TESTS_GPU_CUDA_DEVICE_H_
#define DELTASERVE_TESTS_GPU_CUDA_DEVICE_H_

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cuda/cuda_backend.h"

namespace deltaserve {

// Promises hold bit for bit: products and attention of a fixed order.
inline constexpr bool kRowInvariant = true;
// As in serving: cuBLASLt and tensor cores.
inline constexpr bool kFast = false;

// Throws where there is no device. Several of them share it.
inline std::unique_ptr<Backend> MakeCuda(bool row_invariant) {
  auto backend = MakeCudaBackend({.memory_utilization = 0.3, .row_invariant = row_invariant});
  if (!backend.ok()) throw std::runtime_error(std::string(backend.status().message()));
  return *std::move(backend);
}

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_GPU_CUDA_DEVICE_H_
