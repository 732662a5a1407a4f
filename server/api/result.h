// What comes back of a request, besides its tokens.
#ifndef DELTASERVE_SERVER_API_RESULT_H_
#define DELTASERVE_SERVER_API_RESULT_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/api/request.h"

namespace deltaserve {

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kDeadline, kError };

constexpr std::string_view Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "STOP";
    case FinishReason::kLength:
      return "LENGTH";
    case FinishReason::kCancelled:
      return "CANCELLED";
    case FinishReason::kDeadline:
      return "DEADLINE";
    case FinishReason::kError:
      return "ERROR";
  }
  return "?";
}

struct Alternative {
  int32_t id = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;             // of the raw model; only where logprobs were asked for
  std::vector<Alternative> top;  // likewise, best first
};

// Of consecutive scored tokens.
struct TokenScores {
  std::vector<float> logprobs;                  // natural logarithm
  std::vector<bool> is_greedy;                  // the token was the argmax
  std::vector<std::vector<Alternative>> top_k;  // empty unless asked for
};

// The rewrite trace of one sequence of T tokens: what each sublayer's gate did (FORMAT.md 1.3).
struct RewriteTrace {
  int64_t num_layers = 0;
  int64_t num_tokens = 0;
  int64_t value_channels = 0;
  std::vector<float> beta;  // [L, 2, T]
  std::vector<float> proj;  // [L, 2, T, d_v]: k^T X before the write
  std::vector<float> v;     // [L, 2, T, d_v]
};

struct ScoreResult {
  TokenScores sequence;                    // of context[1..], in the one-sequence form
  std::vector<TokenScores> continuations;  // in the other
  RewriteTrace trace;                      // empty unless asked for
};

// Counted from acceptance to the end, also of calls that end badly.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;  // of these, not computed anew
  int64_t completion_tokens = 0;     // generated, over all n samples
  int64_t scored_tokens = 0;
  SteadyNs queue_ns = 0;                // from submission to the first step that computes for it
  SteadyNs time_to_first_token_ns = 0;  // from submission; 0: none came
  SteadyNs total_ns = 0;
};

struct RequestOutcome {
  absl::Status status;  // OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE or INTERNAL
  Usage usage;
  std::unique_ptr<ScoreResult> score;  // of a ScoreRequest that ended OK
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_RESULT_H_
