#include "server/model/weight_loader.h"

#include "server/model/assign_or_return.h"
#include "server/model/tensor_specs.h"

namespace deltaserve {

WeightLoader::WeightLoader(Backend& backend, const Checkpoint& checkpoint, DType dtype)
    : backend_(backend), checkpoint_(checkpoint), dtype_(dtype) {
  for (const TensorSpec& spec : ExpectedTensors(checkpoint.config())) {
    shapes_.emplace(spec.name, spec.shape);
  }
}

absl::StatusOr<std::vector<float>> WeightLoader::Read(const std::string& name) const {
  std::vector<float> values(shapes_.at(name).NumElements());
  RETURN_IF_ERROR(checkpoint_.ReadF32(name, absl::MakeSpan(values)));
  return values;
}

absl::StatusOr<std::vector<uint8_t>> WeightLoader::ReadRaw(const std::string& name) const {
  const int64_t count = shapes_.at(name).NumElements();
  std::vector<uint8_t> values(count * SizeBytes(dtype_));
  if (dtype_ == DType::kBF16) {
    RETURN_IF_ERROR(checkpoint_.ReadBF16(
        name, absl::MakeSpan(reinterpret_cast<uint16_t*>(values.data()), count)));
  } else {
    RETURN_IF_ERROR(
        checkpoint_.ReadF32(name, absl::MakeSpan(reinterpret_cast<float*>(values.data()), count)));
  }
  return values;
}

absl::StatusOr<DeviceTensor> WeightLoader::Upload(absl::Span<const float> values,
                                                  Shape shape) const {
  const int64_t size_bytes = shape.NumElements() * SizeBytes(DType::kF32);
  DeviceTensor tensor;
  ASSIGN_OR_RETURN(tensor.buffer, backend_.Allocate(size_bytes));
  tensor.view = tensor.buffer.View(DType::kF32, shape);
  backend_.CopyToDevice(tensor.view.data, values.data(), size_bytes);
  return tensor;
}

absl::StatusOr<DeviceTensor> WeightLoader::LoadVector(const std::string& name) const {
  ASSIGN_OR_RETURN(std::vector<float> values, Read(name));
  return Upload(values, {static_cast<int64_t>(values.size())});
}

absl::StatusOr<DeviceTensor> WeightLoader::LoadTable(const std::string& name) const {
  ASSIGN_OR_RETURN(std::vector<uint8_t> values, ReadRaw(name));
  DeviceTensor tensor;
  ASSIGN_OR_RETURN(tensor.buffer, backend_.Allocate(values.size()));
  tensor.view = tensor.buffer.View(dtype_, shapes_.at(name));
  backend_.CopyToDevice(tensor.view.data, values.data(), values.size());
  return tensor;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> WeightLoader::LoadLinear(
    const std::vector<std::string>& names) const {
  std::vector<std::vector<uint8_t>> values;
  std::vector<HostMatrix> parts;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(values.emplace_back(), ReadRaw(name));
    const Shape& shape = shapes_.at(name);
    parts.push_back({values.back().data(), dtype_, shape[0], shape[1]});
  }
  return backend_.PackLinear(parts, dtype_);
}

}  // namespace deltaserve
