// The oracle: every op as its formula reads, in fp32, on one thread, in host memory. Other backends
// are tested against it; it is itself tested against hand-computed cases and the golden fixtures.
#ifndef DELTASERVE_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
#define DELTASERVE_KERNELS_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "kernels/backend.h"

namespace deltaserve {

// Model dtype kF32 only. Ops run when called, so Synchronize() has nothing to wait for.
std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
