// A model folder on disk: its configuration and its weights.
#ifndef DELTASERVE_SERVER_MODEL_CHECKPOINT_H_
#define DELTASERVE_SERVER_MODEL_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/tensor.h"
#include "server/model/config.h"
#include "server/model/safetensors.h"

namespace deltaserve {

// Opened once, then read only: any number of threads may read tensors at once. Weights stay on
// disk; a read converts through a small buffer, so memory is the caller's output and little else.
class Checkpoint {
 public:
  // `dir` holds config.json and either model.safetensors or the shards that
  // model.safetensors.index.json names. Checks everything but the weights' values: the
  // configuration, the files' layout, and that exactly the tensors of the configuration are there,
  // in their shapes. An `lm_head.weight` must repeat the embedding bit for bit. Errors
  // (INVALID_ARGUMENT, NOT_FOUND, DATA_LOSS) name the file, and the key or tensor at fault.
  static absl::StatusOr<Checkpoint> Open(const std::filesystem::path& dir);

  const ModelConfig& config() const { return config_; }
  // Weights in all, as the configuration asks for them.
  int64_t num_parameters() const { return num_parameters_; }
  // dtype of the embedding: kF32, kF16 or kBF16.
  DType stored_dtype() const;
  // dtype to compute in unless told otherwise: kBF16 if stored so, else kF32.
  DType default_dtype() const;

  // Converts a whole tensor, row-major, into `out`, which has as many elements. bf16 bits are
  // rounded to nearest even. INVALID_ARGUMENT names the tensor and the first element that is not
  // finite, or not in the output's dtype; NOT_FOUND: no such tensor; DATA_LOSS: the file changed.
  absl::Status ReadF32(std::string_view name, absl::Span<float> out) const;
  absl::Status ReadBF16(std::string_view name, absl::Span<uint16_t> out) const;

 private:
  Checkpoint() = default;

  absl::Status OpenFiles();
  absl::Status OpenShards(const std::filesystem::path& index_path);
  absl::Status AddFile(const std::filesystem::path& path);
  TensorEvidence Evidence() const;
  absl::Status CheckTensors();  // and count them
  absl::Status CheckTiedHead() const;
  const TensorEntry* Find(std::string_view name) const;
  template <typename Out>
  absl::Status Read(std::string_view name, absl::Span<Out> out) const;

  ModelConfig config_;
  int64_t num_parameters_ = 0;
  std::filesystem::path dir_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> file_of_;  // tensor name -> index into files_
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_CHECKPOINT_H_
