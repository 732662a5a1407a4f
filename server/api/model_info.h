#ifndef DELTASERVE_SERVER_API_MODEL_INFO_H_
#define DELTASERVE_SERVER_API_MODEL_INFO_H_

#include <cstdint>
#include <optional>
#include <string>

namespace deltaserve {

// What callers may know of a served model, and service/ needs to validate a request. Immutable.
struct ModelInfo {
  std::string name;
  std::string residual;  // "additive", "ddl_cc_ec", …
  int64_t value_channels = 1;
  int64_t vocab_size = 0;
  int64_t context_length = 0;  // block_size
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t num_parameters = 0;
  int64_t weight_bytes = 0;
  std::string dtype;   // "bf16" or "fp32", as held
  std::string device;  // "cpu", …
  std::optional<int32_t> eos_token_id;
  // Limits of the cache reserved for it.
  int64_t max_sequence_tokens = 0;            // tokens one sequence can hold: min(context, cache)
  int64_t max_sequences = 0;                  // sequences that can run at once
  std::optional<double> usd_per_device_hour;  // of its device, where it is known
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_MODEL_INFO_H_
