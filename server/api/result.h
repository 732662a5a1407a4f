// What comes back of a request, besides its tokens.
#ifndef DELTASERVE_SERVER_API_RESULT_H_
#define DELTASERVE_SERVER_API_RESULT_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/api/request.h"

namespace deltaserve {

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kDeadline, kBudget, kError };

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
    case FinishReason::kBudget:
      return "BUDGET";
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

// What a device computes for a request. A prompt computed anew after a preemption is prefill, too.
enum class Phase : uint8_t { kPrefill, kDecode, kScore };

inline constexpr std::array kPhases = {Phase::kPrefill, Phase::kDecode, Phase::kScore};

constexpr std::string_view Name(Phase phase) {
  switch (phase) {
    case Phase::kPrefill:
      return "prefill";
    case Phase::kDecode:
      return "decode";
    case Phase::kScore:
      return "score";
  }
  return "?";
}

// One value for each phase.
template <typename T>
struct ByPhase {
  std::array<T, kPhases.size()> values{};

  T& operator[](Phase phase) { return values[static_cast<size_t>(phase)]; }
  const T& operator[](Phase phase) const { return values[static_cast<size_t>(phase)]; }
  friend bool operator==(const ByPhase&, const ByPhase&) = default;
};

// 1e-12 USD. An int64_t of them holds nine million dollars.
using Picodollars = int64_t;

constexpr double Usd(Picodollars cost) { return static_cast<double>(cost) * 1e-12; }

// What a device spent.
struct DeviceUse {
  int64_t device_ns = 0;
  std::optional<int64_t> energy_uj = {};  // absent: not measured
  std::optional<Picodollars> cost = {};   // absent: no price is known

  // What only one of the two knows is known of both.
  DeviceUse& operator+=(const DeviceUse& other) {
    device_ns += other.device_ns;
    if (other.energy_uj) energy_uj = energy_uj.value_or(0) + *other.energy_uj;
    if (other.cost) cost = cost.value_or(0) + *other.cost;
    return *this;
  }
  friend bool operator==(const DeviceUse&, const DeviceUse&) = default;
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
  ByPhase<DeviceUse> device = {};  // zero where nobody meters the device
  // What its tenant is billed of the cost, and whether the ledger has it; absent: there is no
  // ledger.
  std::optional<Picodollars> billed = {};
  std::optional<bool> durable = {};

  DeviceUse TotalDeviceUse() const {
    DeviceUse total;
    for (const DeviceUse& use : device.values) total += use;
    return total;
  }
};

struct RequestOutcome {
  // OK, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE or INTERNAL.
  absl::Status status;
  Usage usage;
  std::unique_ptr<ScoreResult> score;  // of a ScoreRequest that ended OK
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_RESULT_H_
