// The engine and the service report; metrics and cost listen. Neither side knows the other.
#ifndef DELTASERVE_SERVER_API_OBSERVERS_H_
#define DELTASERVE_SERVER_API_OBSERVERS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/api/result.h"
#include "server/api/step_plan.h"

namespace deltaserve {

// What one sequence had the device do in a step: `tokens` of it, the last at position kv_len - 1.
struct SequenceWork {
  RequestId request = 0;
  SequenceId sequence = 0;  // of the model's; a step has each once
  Phase phase = Phase::kPrefill;
  int64_t tokens = 0;
  int64_t kv_len = 0;      // positions the last token attends to, its own included
  int64_t logit_rows = 0;  // tokens whose logits were computed
  friend bool operator==(const SequenceWork&, const SequenceWork&) = default;
};

// What the gates of a DDL model did to the T tokens of a step (FORMAT.md 1.3).
struct GateValues {
  int64_t num_layers = 0;
  int64_t num_tokens = 0;
  int64_t value_channels = 0;
  absl::Span<const float> beta = {};  // [L, 2, T]
  absl::Span<const float> proj = {};  // [L, 2, T, d_v]: k^T X before the write
  absl::Span<const float> v = {};     // [L, 2, T, d_v]
};

// One engine step of one model. Spans hold during the call.
struct StepStats {
  std::string_view model;
  SteadyNs begin = 0;          // of planning it
  SteadyNs end = 0;            // its results are on the host
  int64_t prefill_tokens = 0;  // computed for prompts or scores, or anew after a preemption
  int64_t decode_tokens = 0;   // one for each sequence that samples from its last token alone
  int64_t sequences = 0;
  int64_t preemptions = 0;
  bool failed = false;  // the device was lost in it
  absl::Span<const SequenceWork> work = {};
  GateValues gates = {};  // empty, unless they were wanted and the model has some
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
  // A step of the model begins. Its OnStep follows, with the same `begin`.
  virtual void OnStepBegin(std::string_view /*model*/, SteadyNs /*begin*/) {}
  // Asked once a step: whether it shall bring its gates along, which costs a copy.
  virtual bool WantsGates(std::string_view /*model*/) { return false; }
  // Before any request hears of what the step brought, and of its end.
  virtual void OnStep(const StepStats& step) = 0;
  virtual void OnLoad(const ModelLoad& load) = 0;
};

// Tells several, in their order. They must outlive it.
class StepObservers final : public StepObserver {
 public:
  explicit StepObservers(std::vector<StepObserver*> observers) : observers_(std::move(observers)) {}

  void OnStepBegin(std::string_view model, SteadyNs begin) override {
    for (StepObserver* observer : observers_) observer->OnStepBegin(model, begin);
  }
  bool WantsGates(std::string_view model) override {
    bool wanted = false;
    for (StepObserver* observer : observers_) wanted |= observer->WantsGates(model);
    return wanted;
  }
  void OnStep(const StepStats& step) override {
    for (StepObserver* observer : observers_) observer->OnStep(step);
  }
  void OnLoad(const ModelLoad& load) override {
    for (StepObserver* observer : observers_) observer->OnLoad(load);
  }

 private:
  const std::vector<StepObserver*> observers_;
};

enum class Method : uint8_t { kGenerate, kGenerateStream, kScore };

// A sample that has ended.
struct SampleStats {
  FinishReason reason = FinishReason::kStop;
  int64_t tokens = 0;
  SteadyNs first_at = 0;  // when its first token came
  SteadyNs last_at = 0;
};

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
  // Of a request that has not ended yet.
  virtual void OnSampleDone(std::string_view /*model*/, const SampleStats& /*sample*/) {}
};

// Tells several, in their order. They must outlive it.
class RequestObservers final : public RequestObserver {
 public:
  explicit RequestObservers(std::vector<RequestObserver*> observers)
      : observers_(std::move(observers)) {}

  void OnReceived(Method method) override {
    for (RequestObserver* observer : observers_) observer->OnReceived(method);
  }
  void OnFinished(Method method, std::string_view model, const absl::Status& status,
                  const Usage& usage, SteadyNs duration_ns) override {
    for (RequestObserver* observer : observers_) {
      observer->OnFinished(method, model, status, usage, duration_ns);
    }
  }
  void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) override {
    for (RequestObserver* observer : observers_) {
      observer->OnInterTokenLatency(model, per_token_ns, tokens);
    }
  }
  void OnSampleDone(std::string_view model, const SampleStats& sample) override {
    for (RequestObserver* observer : observers_) observer->OnSampleDone(model, sample);
  }

 private:
  const std::vector<RequestObserver*> observers_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_OBSERVERS_H_
