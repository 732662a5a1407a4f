// A real engine behind a real server, over loopback, in one process.
#ifndef DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_
#define DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_

#include <atomic>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/api/forwarding_queue.h"
#include "server/api/mutex.h"
#include "server/service/grpc_server.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/metered_queue.h"
#include "server/telemetry/metrics.h"
#include "tests/support/test_engine.h"

namespace deltaserve {

// Hands everything on, and lets a test wait for it. Thread-safe.
class WatchedQueue final : public ForwardingQueue {
 public:
  explicit WatchedQueue(RequestQueue& queue) : ForwardingQueue(queue) {}

  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(RequestId id) override;

  // Waits until that many requests have been accepted, since the start.
  void AwaitSubmitted(int64_t count);
  // Waits until one has been cancelled.
  void AwaitCancel();

 private:
  absl::Status Noted(absl::Status status);

  Mutex mutex_;
  CondVar changed_;
  int64_t submitted_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

// Hands everything on to the metrics, and adds up the device's time of calls that have ended.
class UsageObserver final : public RequestObserver {
 public:
  explicit UsageObserver(RequestObserver& next) : next_(next) {}

  void OnReceived(Method method) override { next_.OnReceived(method); }
  void OnFinished(Method method, std::string_view model, const absl::Status& status,
                  const Usage& usage, SteadyNs duration_ns) override {
    device_ns_ += usage.TotalDeviceUse().device_ns;
    next_.OnFinished(method, model, status, usage, duration_ns);
  }
  void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) override {
    next_.OnInterTokenLatency(model, per_token_ns, tokens);
  }

  int64_t device_ns() const { return device_ns_; }

 private:
  RequestObserver& next_;
  std::atomic<int64_t> device_ns_ = 0;
};

// The device costs a dollar an hour.
class ServedEngine {
 public:
  // Serves the lanes under their names. The engine's loop is running. `step_ns`: what the clock
  // advances by in each step.
  explicit ServedEngine(std::unique_ptr<Backend> backend, int64_t max_queued = 1000,
                        std::vector<LaneOptions> lanes = {GoldenLane("ddl_cc")},
                        SteadyNs step_ns = 0);

  TestEngine& engine() { return engine_; }
  WatchedQueue& queue() { return queue_; }
  GrpcServer& server() { return *server_; }
  v1::InferenceService::Stub& stub() { return *stub_; }
  // The sum over the series of a counter; all of them, or those of one outcome.
  double Count(const std::string& counter, const std::string& outcome = "") const;
  DeviceAccount Account() { return meter_.Account(engine_.clock().Now()); }
  int64_t finished_device_ns() const { return observer_.device_ns(); }

 private:
  // Time passes in steps, and as much of it between them.
  class Ticker final : public StepObserver {
   public:
    Ticker(ManualClock& clock, SteadyNs step_ns) : clock_(clock), step_ns_(step_ns) {}
    void OnStepBegin(std::string_view, SteadyNs) override { clock_.Advance(step_ns_); }
    void OnStep(const StepStats&) override { clock_.Advance(step_ns_); }
    void OnLoad(const ModelLoad&) override {}

   private:
    ManualClock& clock_;
    const SteadyNs step_ns_;
  };

  NoEnergyCounter energy_;
  CostMeter meter_;
  TestEngine engine_;
  Ticker ticker_;
  MeteredQueue metered_queue_;
  WatchedQueue queue_;
  Metrics metrics_;
  UsageObserver observer_;
  std::unique_ptr<ModelRegistry> models_;
  Tenants tenants_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// Greedy, of that many tokens.
v1::GenerateRequest GenerateCall(int32_t max_tokens);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_
