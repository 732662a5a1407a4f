// A config.json: whatever it says, parsing it ends in an error or in a configuration whose sizes
// can be computed without overflow. The first byte says what the tensors are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/model/config.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  deltaserve::TensorEvidence evidence;
  evidence.has_ddl_attn = data[0] & 1;
  evidence.has_readout_shortconv = data[0] & 2;
  evidence.has_readout_weight = data[0] & 4;
  evidence.has_embed_conv = data[0] & 8;
  if (data[0] & 16) evidence.readout_read_length = data[0] >> 5;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const absl::StatusOr<deltaserve::ModelConfig> config =
      deltaserve::ParseModelConfig(text, &evidence);
  if (!config.ok()) return 0;
  Require(config->d_v() >= 1 && config->d_v() <= deltaserve::kMaxValueChannels);
  Require(config->MlpWidth() >= 1 && config->attention_width() >= 1);
  Require(config->RotaryDims() >= 0 && config->RotaryDims() <= config->head_dim);
  Require(config->vocab_size * config->hidden_size > 0);
  return 0;
}
