#include "bench/random_models.h"

#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"
#include "tests/support/random_checkpoint.h"

namespace deltaserve::bench {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSeed = 1;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

ModelConfig ShapeConfig(const std::string& shape, ResidualKind kind) {
  if (shape == "medium") return MediumConfig(kind);
  ModelConfig config = SmallConfig(kind);
  if (shape == "tiny") {
    config.num_hidden_layers = 2;
    config.hidden_size = 128;
    config.num_attention_heads = 2;
    config.head_dim = 64;
    config.vocab_size = 512;
  }
  return config;
}

absl::StatusOr<fs::path> RandomModel(const fs::path& cache_dir, const std::string& shape,
                                     ResidualKind kind, DType stored) {
  const ModelConfig config = ShapeConfig(shape, kind);
  const fs::path dir =
      cache_dir / (shape + "-" + std::string(Name(kind)) + "-" + std::string(Name(stored)));
  if (ReadFile(dir / "config.json") == ConfigJson(config) + "\n") return dir;

  // A run that is cut short must not leave half a model behind.
  const fs::path unfinished = dir.string() + ".unfinished";
  std::error_code error;
  fs::remove_all(unfinished, error);
  RETURN_IF_ERROR(WriteRandomCheckpoint(unfinished, config, kSeed, stored));
  fs::remove_all(dir, error);
  fs::rename(unfinished, dir, error);
  if (error) return absl::InternalError(absl::StrCat(dir.string(), ": ", error.message()));
  return dir;
}

}  // namespace deltaserve::bench
