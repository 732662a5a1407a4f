// Matrix products of the CPU backend. Two ways: oneDNN where its rows are the same bits whatever
// the number of rows, an own SIMD routine elsewhere.
#ifndef DELTASERVE_KERNELS_CPU_LINEAR_H_
#define DELTASERVE_KERNELS_CPU_LINEAR_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/workers.h"

namespace deltaserve::cpu {

class LinearKernel {
 public:
  virtual ~LinearKernel() = default;

  // Backend::PackLinear, with `parts` checked: some, all with the same `in`. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::Span<const HostMatrix> parts,
                                                             DType dtype) = 0;
  // One thread at a time.
  virtual absl::Status Run(const LinearParams& p, Workers& workers) = 0;
};

// Needs AVX-512 with BF16: there oneDNN's products of 1 to 1024 rows agree bit for bit.
std::unique_ptr<LinearKernel> MakeOneDnnLinear(int num_threads);

// Keeps weights as fp32, rounded to the dtype they stand for; every output is one chain of
// multiply-adds over the inputs in order.
std::unique_ptr<LinearKernel> MakeSimdLinear();

// The parts as one [out, in] matrix of `dtype`.
struct StackedMatrix {
  int64_t out = 0, in = 0;
  const void* data = nullptr;  // of `owned`, or of the only part where nothing had to be done
  AlignedMemory owned;
};
absl::StatusOr<StackedMatrix> StackParts(absl::Span<const HostMatrix> parts, DType dtype);

absl::Status CannotAllocate(int64_t size_bytes);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_LINEAR_H_
