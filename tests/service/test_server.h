// A server over loopback whose engine is the test.
#ifndef DELTASERVE_TESTS_SERVICE_TEST_SERVER_H_
#define DELTASERVE_TESTS_SERVICE_TEST_SERVER_H_

#include <grpcpp/channel.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"
#include "server/api/request_queue.h"
#include "server/service/grpc_server.h"

namespace deltaserve {

// Ids below 256 are the bytes; 256 is <|endoftext|>, 257 "wor", 258 "ld" and 259 the first two
// bytes of the euro sign.
std::shared_ptr<const Tokenizer> ByteTokenizer();
inline constexpr int32_t kEndOfTextId = 256;
inline constexpr int32_t kVocabSize = 260;

// A model "tiny" of the byte tokenizer's vocabulary: 64 tokens, 8 sequences, ddl_cc.
ModelInfo TinyModel();

// The bytes of `text` as tokens.
std::vector<SampledToken> Tokens(std::string_view text);

// A queue that accepts what it is told to and does nothing by itself: the test, in the engine
// thread's place, takes the requests and drives their sinks. Thread-safe.
class FakeQueue final : public RequestQueue {
 public:
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(RequestId id) override;
  void EndForBudget(RequestId) override {}
  void StopSample(RequestId id, int32_t sample) override;

  // From now on refuses, or accepts (OK).
  void Answer(absl::Status status);

  // Waits for the next request.
  struct Generate {
    GenerateRequest request;
    std::shared_ptr<TokenSink> sink;
  };
  struct Score {
    ScoreRequest request;
    std::shared_ptr<TokenSink> sink;
  };
  Generate NextGenerate();
  Score NextScore();

  // Waits until it has been called.
  void AwaitCancel(RequestId id);
  void AwaitStop(RequestId id, int32_t sample);
  bool stopped(RequestId id, int32_t sample);

 private:
  Mutex mutex_;
  CondVar called_;
  absl::Status answer_ ABSL_GUARDED_BY(mutex_);
  std::deque<Generate> generates_ ABSL_GUARDED_BY(mutex_);
  std::deque<Score> scores_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<RequestId, int32_t>> stopped_ ABSL_GUARDED_BY(mutex_);
};

// Remembers what was reported. Thread-safe.
class RecordingObserver final : public RequestObserver {
 public:
  struct Finished {
    Method method;
    std::string model;
    absl::StatusCode code;
    Usage usage;
  };

  void OnReceived(Method method) override;
  void OnFinished(Method method, std::string_view model, const absl::Status& status,
                  const Usage& usage, SteadyNs duration_ns) override;
  void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) override;

  std::vector<Method> received() const;
  std::vector<Finished> finished() const;
  int64_t latency_tokens() const;
  // Waits for that many.
  std::vector<Finished> AwaitFinished(size_t count) const;

 private:
  mutable Mutex mutex_;
  mutable CondVar one_finished_;
  std::vector<Method> received_ ABSL_GUARDED_BY(mutex_);
  std::vector<Finished> finished_ ABSL_GUARDED_BY(mutex_);
  int64_t latency_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

class TestServer {
 public:
  struct Options {
    ModelInfo info = TinyModel();
    std::shared_ptr<const Tokenizer> tokenizer = ByteTokenizer();
    RequestLimits limits = {};
    std::vector<std::string> more_models = {};  // served as well, under these names
    std::string keys_path = {};                 // a keys file; empty: none
  };
  TestServer() : TestServer(Options()) {}
  explicit TestServer(Options options);

  FakeQueue& queue() { return queue_; }
  RecordingObserver& observer() { return observer_; }
  GrpcServer& server() { return *server_; }
  Tenants& tenants() { return *tenants_; }
  v1::InferenceService::Stub& stub() { return *stub_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  // All that was logged so far.
  std::string log() const;

 private:
  class LogSink;

  FakeQueue queue_;
  RecordingObserver observer_;
  SteadyClock clock_;
  ModelRegistry models_;
  std::shared_ptr<LogSink> log_;
  std::unique_ptr<Tenants> tenants_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// The usage in a failed call's trailing metadata; null if there is none.
std::unique_ptr<v1::Usage> TrailingUsage(const grpc::ClientContext& context);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SERVICE_TEST_SERVER_H_
