#include "tests/support/random_checkpoint.h"

#include <cmath>
#include <fstream>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "server/model/tensor_specs.h"
#include "tests/support/random_source.h"
#include "tests/support/safetensors_writer.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

// How a tensor's values are drawn: normal around a mean, the last of every `period` values around
// another one.
struct Distribution {
  float mean = 0;
  float deviation = 1;
  int64_t period = 1;
  float last_mean = 0;
};

Distribution DistributionOf(const TensorSpec& tensor) {
  const std::string_view name = tensor.name;
  const auto fan_in = [&] { return static_cast<float>(tensor.shape[tensor.shape.rank() - 1]); };
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  const auto around = [](float mean, float deviation) {
    return Distribution{mean, deviation, 1, mean};
  };
  // Convolutions: mostly the current token, which is the last tap.
  if (has("shortconv.weight") || has("embed.conv")) {
    return {0, 0.3f, tensor.shape[tensor.shape.rank() - 1], 0.8f};
  }
  if (has(".read")) return around(1 / fan_in(), 0.5f / std::sqrt(fan_in()));
  if (has("compress.weight") || name == "readout.weight") return around(0.5f, 0.5f);
  if (has("v_proj.bias")) return around(0, 0.5f);
  if (has(".bias")) return around(0, 1.5f);              // of a gate
  if (tensor.shape.rank() == 1) return around(1, 0.1f);  // of a norm
  if (name == kEmbeddingName) return around(0, 2 / std::sqrt(fan_in()));
  return around(0, 1 / std::sqrt(fan_in()));
}

uint64_t Hash(std::string_view text, uint64_t seed) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

TensorToWrite RandomTensor(const TensorSpec& tensor, uint64_t seed, DType dtype) {
  const Distribution distribution = DistributionOf(tensor);
  auto random = std::make_shared<RandomSource>(Hash(tensor.name, seed));
  auto fill = [distribution, random, index = int64_t{0}](absl::Span<float> values) mutable {
    RandomSource source = *random;  // a local copy stays in registers
    if (distribution.period == 1) {
      for (float& value : values) {
        value = distribution.last_mean + distribution.deviation * source.Normal();
      }
    } else {
      for (float& value : values) {
        const bool last = ++index % distribution.period == 0;
        value = (last ? distribution.last_mean : distribution.mean) +
                distribution.deviation * source.Normal();
      }
    }
    *random = source;
  };
  return {tensor.name, tensor.shape, dtype, std::move(fill)};
}

absl::Status WriteText(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text << '\n';
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path.string(), ": cannot be written"));
}

absl::Status WriteShards(const fs::path& dir, const std::vector<TensorToWrite>& tensors,
                         size_t num_shards) {
  nlohmann::json weight_map = nlohmann::json::object();
  absl::Status status;
  for (size_t shard = 0; shard < num_shards; ++shard) {
    const std::string name =
        absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, num_shards);
    const size_t begin = tensors.size() * shard / num_shards;
    const size_t end = tensors.size() * (shard + 1) / num_shards;
    const auto part = absl::MakeSpan(tensors).subspan(begin, end - begin);
    for (const TensorToWrite& tensor : part) weight_map[tensor.name] = name;
    status.Update(WriteSafetensors(dir / name, part));
  }
  const nlohmann::json index = {{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}};
  status.Update(WriteText(dir / "model.safetensors.index.json", index.dump(2)));
  return status;
}

}  // namespace

absl::Status WriteRandomCheckpoint(const fs::path& dir, const ModelConfig& config, uint64_t seed,
                                   DType stored, int num_shards) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return absl::InternalError(absl::StrCat(dir.string(), ": ", error.message()));
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    tensors.push_back(RandomTensor(tensor, seed, stored));
  }
  absl::Status status = WriteText(dir / "config.json", ConfigJson(config));
  status.Update(num_shards > 1 ? WriteShards(dir, tensors, static_cast<size_t>(num_shards))
                               : WriteSafetensors(dir / "model.safetensors", tensors));
  return status;
}

}  // namespace deltaserve
