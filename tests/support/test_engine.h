// An engine loop with its models, a sink and an observer that keep what they are told, and a clock
// that a test may hold.
#ifndef DELTASERVE_TESTS_SUPPORT_TEST_ENGINE_H_
#define DELTASERVE_TESTS_SUPPORT_TEST_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "server/api/mutex.h"
#include "server/engine/engine_loop.h"

namespace deltaserve {

class ManualClock final : public Clock {
 public:
  static constexpr SteadyNs kStart = 1'000'000'000;

  SteadyNs Now() const override { return now_; }
  void Advance(SteadyNs ns) { now_ += ns; }

 private:
  std::atomic<SteadyNs> now_ = kStart;
};

// Thread-safe.
class RecordingSink final : public TokenSink {
 public:
  struct Sample {
    std::vector<SampledToken> tokens;
    std::optional<FinishReason> finish;

    std::vector<int32_t> ids() const;
    std::vector<float> logprobs() const;
  };
  // Called on the engine thread with a sample's index and the number of tokens it now has.
  using TokenHook = std::function<void(int32_t sample, int64_t num_tokens)>;

  explicit RecordingSink(TokenHook hook = nullptr) : hook_(std::move(hook)) {}

  void OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) override;
  void OnSampleDone(int32_t sample, FinishReason reason) override;
  void OnDone(RequestOutcome outcome) override;

  // These wait for the end.
  Sample sample(int32_t index = 0);
  absl::Status status();
  Usage usage();
  const ScoreResult& score();  // the request ended OK

  bool done() const;
  // What broke the contract of TokenSink; empty if nothing did.
  std::string violation() const;

 private:
  void Await() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TokenHook hook_;
  mutable Mutex mutex_;
  CondVar ended_;
  std::map<int32_t, Sample> samples_ ABSL_GUARDED_BY(mutex_);
  RequestOutcome outcome_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::string violation_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe.
class RecordingStepObserver final : public StepObserver {
 public:
  struct Step {
    std::string model;
    StepStats stats;  // its views are void; what they showed is here
    std::vector<SequenceWork> work;
    std::vector<float> beta;
  };

  // These two before the engine runs. Whether steps shall bring their gates along.
  void set_wants_gates(bool wants) { wants_gates_ = wants; }
  // Tells `more` everything, too. It must outlive the engine.
  void TellAlso(StepObserver* more) { more_.push_back(more); }

  void OnStepBegin(std::string_view model, SteadyNs begin) override;
  bool WantsGates(std::string_view) override { return wants_gates_; }
  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad& load) override;

  std::vector<Step> steps() const;
  std::vector<std::pair<std::string, SteadyNs>> begun() const;
  int64_t num_preemptions() const;
  // As last reported; all zero before.
  ModelLoad load(const std::string& model) const;

 private:
  bool wants_gates_ = false;
  std::vector<StepObserver*> more_;
  mutable Mutex mutex_;
  std::vector<std::pair<std::string, SteadyNs>> begun_ ABSL_GUARDED_BY(mutex_);
  std::vector<Step> steps_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ModelLoad> loads_ ABSL_GUARDED_BY(mutex_);
};

// Errors in the making of it are fatal to the process: this is for tests.
class TestEngine {
 public:
  // The loop is not started, so that a test can fill the queue first.
  TestEngine(std::unique_ptr<Backend> backend, absl::Span<const LaneOptions> models,
             int64_t max_queued = 10'000);

  ManualClock& clock() { return clock_; }
  RecordingStepObserver& observer() { return observer_; }
  EngineLoop& loop() { return *loop_; }
  const ModelInfo& info(size_t model = 0) const { return infos_[model]; }
  const ModelCosts& costs(size_t model = 0) const { return costs_[model]; }

  // Starts the loop if need be, and waits until everything submitted has ended.
  void Finish();
  // The pages and slots of every model are free.
  bool everything_free() const;

  // Submits to the first model unless the request names one. The request gets an id if it has
  // none.
  template <typename Request>
  absl::Status TrySubmit(Request request, std::shared_ptr<RecordingSink> sink) {
    if (request.model.empty()) request.model = infos_[0].name;
    if (request.id == 0) request.id = ++last_id_;
    return loop_->Submit(std::move(request), std::move(sink));
  }
  // The request must be accepted.
  template <typename Request>
  std::shared_ptr<RecordingSink> Submit(Request request, RecordingSink::TokenHook hook = nullptr) {
    auto sink = std::make_shared<RecordingSink>(std::move(hook));
    MustBeOk(TrySubmit(std::move(request), sink));
    return sink;
  }
  // Submits, starts the loop if need be, and waits.
  template <typename Request>
  std::shared_ptr<RecordingSink> Run(Request request) {
    const auto sink = Submit(std::move(request));
    Finish();
    return sink;
  }

 private:
  static void MustBeOk(const absl::Status& status);

  std::unique_ptr<Backend> backend_;
  ManualClock clock_;
  RecordingStepObserver observer_;
  std::vector<ModelInfo> infos_;
  std::vector<ModelCosts> costs_;
  bool started_ = false;
  RequestId last_id_ = 1'000'000;
  std::unique_ptr<EngineLoop> loop_;
};

// A lane for a model folder of tests/golden ("ddl_cc", …), in fp32, under that name.
LaneOptions GoldenLane(const std::string& fixture);

// max_tokens of them, whatever they are.
GenerateRequest GreedyRequest(std::vector<int32_t> prompt, int64_t max_tokens);
GenerateRequest SampledRequest(std::vector<int32_t> prompt, int64_t max_tokens, uint64_t seed);
ScoreRequest SequenceRequest(std::vector<int32_t> sequence);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_TEST_ENGINE_H_
