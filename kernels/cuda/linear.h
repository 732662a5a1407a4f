// Matrix products of one device.
#ifndef DELTASERVE_KERNELS_CUDA_LINEAR_H_
#define DELTASERVE_KERNELS_CUDA_LINEAR_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/memory.h"

namespace deltaserve::cuda {

// A weight on the device: [out, in_stride], row-major, zeros beyond `in`.
class DeviceLinear final : public PackedLinear {
 public:
  DeviceLinear(Buffer data, DType dtype, int64_t out, int64_t in, int64_t in_stride)
      : data_(std::move(data)), dtype_(dtype), out_(out), in_(in), in_stride_(in_stride) {}

  int64_t in_features() const override { return in_; }
  int64_t out_features() const override { return out_; }
  int64_t size_bytes() const override { return data_.size_bytes(); }
  // What a row takes in memory, in elements: 64 divides it.
  int64_t in_stride() const { return in_stride_; }
  DType dtype() const { return dtype_; }
  const void* data() const { return data_.data(); }

 private:
  Buffer data_;
  DType dtype_;
  int64_t out_;
  int64_t in_;
  int64_t in_stride_;
};

inline constexpr int64_t kInAlignment = 64;

// INVALID_ARGUMENT unless the parts can be stacked and held as `dtype`.
absl::Status CheckParts(const std::string& device, absl::Span<const HostMatrix> parts, DType dtype);
// Brings the parts into a DeviceLinear's memory, one below the other.
void UploadParts(absl::Span<const HostMatrix> parts, DType dtype, int64_t in_stride,
                 void* destination, StagedCopies& copies);

// y = x W^T. One thread at a time.
class MatrixProduct {
 public:
  virtual ~MatrixProduct() = default;
  virtual void Run(const LinearParams& p, OpContext& context) = 0;
};

// A kernel of ours that adds in one order, whatever the number of rows: for tests, and where every
// bit is to be the same in any batch.
std::unique_ptr<MatrixProduct> MakePlainProduct();
// cuBLASLt.
std::unique_ptr<MatrixProduct> MakeProduct();

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_LINEAR_H_
