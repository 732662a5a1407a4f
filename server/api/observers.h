// The engine and the service report; metrics and cost listen. Neither side knows the other.
#ifndef DELTASERVE_SERVER_API_OBSERVERS_H_
#define DELTASERVE_SERVER_API_OBSERVERS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/api/result.h"

namespace deltaserve {

// One engine step of one model, right after it was committed.
struct StepStats {
  std::string_view model;
  SteadyNs begin = 0;
  SteadyNs end = 0;
  int64_t prefill_tokens = 0;  // computed for prompts, or anew after a preemption
  int64_t decode_tokens = 0;   // one for each sequence that samples from its last token alone
  int64_t sequences = 0;
  int64_t preemptions = 0;
};

// A model's queue and cache, after every step and whenever they change without one.
struct ModelLoad {
  std::string_view model;
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t pages_used = 0;
  int64_t pages_free = 0;
  int64_t slots_used = 0;
  int64_t slots_free = 0;
};

// Called on the engine thread; must be quick and never block on it.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void OnStep(const StepStats& step) = 0;
  virtual void OnLoad(const ModelLoad& load) = 0;
};

enum class Method : uint8_t { kGenerate, kGenerateStream, kScore };

// Called by service/, on any thread. Every call of a method is reported received once and finished
// once, whatever became of it, so that the outcomes add up to the requests.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  virtual void OnReceived(Method method) = 0;
  // `model` is a served one, or empty where the request named none of them. `usage` is zero where
  // the request was refused.
  virtual void OnFinished(Method method, std::string_view model, const absl::Status& status,
                          const Usage& usage, SteadyNs duration_ns) = 0;
  // The time between two messages of a sample, shared out over the `tokens` of the second.
  virtual void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns,
                                   int64_t tokens) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_OBSERVERS_H_
