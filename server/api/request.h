// What a caller asks for, validated and tokenised: plain values, made by service/, read by engine/.
#ifndef DELTASERVE_SERVER_API_REQUEST_H_
#define DELTASERVE_SERVER_API_REQUEST_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace deltaserve {

// Unique within a process; chosen by whoever makes the request.
using RequestId = uint64_t;

struct Tenant;

// Nanoseconds of the process's steady clock (api/clock.h).
using SteadyNs = int64_t;
inline constexpr SteadyNs kNoDeadline = std::numeric_limits<SteadyNs>::max();

// Defaults, ranges and the order of processing: the table of docs/api.md.
struct SamplingParams {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;
  float min_p = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // ids in the vocabulary, each once
};

struct GenerateRequest {
  RequestId id = 0;
  std::string name = {};                           // what answers, logs and the ledger call it
  std::shared_ptr<const Tenant> tenant = nullptr;  // whom it is for; null: that does not matter
  std::string model;
  SteadyNs deadline = kNoDeadline;
  std::vector<int32_t> prompt;  // not empty, ids in the vocabulary
  SamplingParams sampling;
  int64_t max_tokens = 128;  // prompt + max_tokens fit the model's context
  int64_t min_tokens = 0;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<int32_t> logprobs;  // alternatives per token; 0: the token's own only
  int32_t n = 1;
};

// One sequence (`continuations` empty): every token of `context` but the first is scored. Or one
// context with several continuations: their tokens are, the context is computed once.
struct ScoreRequest {
  RequestId id = 0;
  std::string name = {};                           // what answers, logs and the ledger call it
  std::shared_ptr<const Tenant> tenant = nullptr;  // whom it is for; null: that does not matter
  std::string model;
  SteadyNs deadline = kNoDeadline;
  std::vector<int32_t> context;                     // not empty
  std::vector<std::vector<int32_t>> continuations;  // none empty
  int32_t top_k = 0;                                // alternatives per scored token
  bool trace = false;                               // one sequence, DDL models only
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_REQUEST_H_
