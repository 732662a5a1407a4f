// Random models: configurations of every kind, and checkpoints to match, written fast enough to
// benchmark real shapes.
#ifndef DELTASERVE_TESTS_SUPPORT_RANDOM_CHECKPOINT_H_
#define DELTASERVE_TESTS_SUPPORT_RANDOM_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "kernels/tensor.h"
#include "server/model/config.h"

namespace deltaserve {

// A small valid configuration; a function of the seed alone. Six seeds in a row cover the six
// kinds; over a few dozen, every key of FORMAT.md 1.1 takes each of its forms.
ModelConfig RandomConfig(uint64_t seed);

// The shapes that count for speed, otherwise with the reference code's defaults: 12 layers, d 768,
// 6 heads of 128, and 24 layers, d 1024, 8 heads of 128; vocabulary 50304.
ModelConfig SmallConfig(ResidualKind kind);
ModelConfig MediumConfig(ResidualKind kind);

// The text of a config.json with every key that the kind reads.
std::string ConfigJson(const ModelConfig& config);

// Writes config.json and model.safetensors, or, with more than one shard, several files and an
// index, into `dir`, which is made if need be. The weights are a function of seed and name. They
// are scaled so that activations stay of order one, gates span (0, 2), and logits have a standard
// deviation of about two.
absl::Status WriteRandomCheckpoint(const std::filesystem::path& dir, const ModelConfig& config,
                                   uint64_t seed, DType stored = DType::kF32, int num_shards = 1);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_RANDOM_CHECKPOINT_H_
