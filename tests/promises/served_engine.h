// A real engine behind a real server, over loopback, in one process.
#ifndef DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_
#define DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/api/mutex.h"
#include "server/service/grpc_server.h"
#include "server/telemetry/metrics.h"
#include "tests/support/test_engine.h"

namespace deltaserve {

// Hands everything on, and lets a test wait for it. Thread-safe.
class WatchedQueue final : public RequestQueue {
 public:
  explicit WatchedQueue(RequestQueue& queue) : queue_(queue) {}

  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(RequestId id) override;
  void StopSample(RequestId id, int32_t sample) override { queue_.StopSample(id, sample); }

  // Waits until that many requests have been accepted, since the start.
  void AwaitSubmitted(int64_t count);
  // Waits until one has been cancelled.
  void AwaitCancel();

 private:
  absl::Status Noted(absl::Status status);

  RequestQueue& queue_;
  Mutex mutex_;
  CondVar changed_;
  int64_t submitted_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

class ServedEngine {
 public:
  // Serves the fixture "ddl_cc" under its name. The engine's loop is running.
  explicit ServedEngine(std::unique_ptr<Backend> backend, int64_t max_queued = 1000);

  TestEngine& engine() { return engine_; }
  WatchedQueue& queue() { return queue_; }
  GrpcServer& server() { return *server_; }
  v1::InferenceService::Stub& stub() { return *stub_; }
  // The sum over the series of a counter; all of them, or those of one outcome.
  double Count(const std::string& counter, const std::string& outcome = "") const;

 private:
  TestEngine engine_;
  WatchedQueue queue_;
  Metrics metrics_;
  ModelRegistry models_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// Greedy, of that many tokens.
v1::GenerateRequest GenerateCall(int32_t max_tokens);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_PROMISES_SERVED_ENGINE_H_
