// From tensors of a checkpoint to weights on a backend.
#ifndef DELTASERVE_SERVER_MODEL_WEIGHT_LOADER_H_
#define DELTASERVE_SERVER_MODEL_WEIGHT_LOADER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/model/checkpoint.h"

namespace deltaserve {

// A tensor and the memory it lives in.
struct DeviceTensor {
  Buffer buffer;
  TensorView view;

  explicit operator bool() const { return static_cast<bool>(view); }
};

// Refers to backend and checkpoint; both must outlive it. May be used from several threads.
class WeightLoader {
 public:
  WeightLoader(Backend& backend, const Checkpoint& checkpoint, DType dtype);

  Backend& backend() const { return backend_; }
  DType dtype() const { return dtype_; }  // of the model

  // A tensor's values in fp32, in host memory.
  absl::StatusOr<std::vector<float>> Read(const std::string& name) const;
  // Small parameters: fp32 whatever the model's dtype.
  absl::StatusOr<DeviceTensor> Upload(absl::Span<const float> values, Shape shape) const;
  absl::StatusOr<DeviceTensor> LoadVector(const std::string& name) const;
  // A matrix as it is, in the model's dtype.
  absl::StatusOr<DeviceTensor> LoadTable(const std::string& name) const;
  // Linear weights [out, in] with the same `in`, stacked along `out`.
  absl::StatusOr<std::unique_ptr<PackedLinear>> LoadLinear(
      const std::vector<std::string>& names) const;

 private:
  // Values in the model's dtype, dense, in host memory.
  absl::StatusOr<std::vector<uint8_t>> ReadRaw(const std::string& name) const;

  Backend& backend_;
  const Checkpoint& checkpoint_;
  DType dtype_;
  std::map<std::string, Shape> shapes_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_WEIGHT_LOADER_H_
