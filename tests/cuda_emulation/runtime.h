// What a test may do to the emulated device besides using it.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_RUNTIME_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_RUNTIME_H_

#include <cstdint>

namespace deltaserve::cuda_emulation {

// From now on all work fails, as after an illegal access, until Heal(). Thread-safe.
void Break();
void Heal();

// So far, in this process.
int64_t NumGraphLaunches();
// Now; what is freed does not count.
int64_t AllocatedBytes();

}  // namespace deltaserve::cuda_emulation

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_RUNTIME_H_
