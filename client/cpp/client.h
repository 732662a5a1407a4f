// The C++ client of a Deltaserve server. Requests and responses are the messages of
// proto/deltaserve/v1/inference.proto; statuses, defaults and ranges are those of docs/api.md.
//
//   deltaserve::Client client = deltaserve::Client::Connect("127.0.0.1:50051");
//   deltaserve::v1::GenerateRequest request;
//   request.set_text("Once upon a time");
//   absl::StatusOr<deltaserve::v1::GenerateResponse> response =
//       client.Generate(request, {.timeout = absl::Seconds(10)});
#ifndef DELTASERVE_CLIENT_CPP_CLIENT_H_
#define DELTASERVE_CLIENT_CPP_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/cpp/call_options.h"
#include "client/cpp/call_status.h"
#include "client/cpp/generation_observer.h"
#include "client/cpp/generation_stream.h"
#include "deltaserve/v1/admin.grpc.pb.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace deltaserve {

struct ClientOptions {
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // null: no TLS

  // A call that ends with UNAVAILABLE before any of its answer has come is tried again by gRPC: at
  // most four attempts, some tenths of a second apart, within the call's timeout. Generating and
  // scoring change nothing at the server, so that what a lost server had begun is safe to repeat; a
  // stream whose first message has come is not, and ends with UNAVAILABLE. A request of more than
  // 256 KiB is tried once.
  bool retry = true;

  // The address stands for several servers, such as dns:///NAME:PORT of a Kubernetes headless
  // Service or ipv4:ADDRESS:PORT,ADDRESS:PORT. Each call goes to the next one of them whose health
  // is SERVING (gRPC's round_robin with its health checks). Not for the address of a proxy, behind
  // which the health would be that of any one server.
  bool round_robin = false;
};

// Thread-safe. Copies are cheap and share the connection. A call blocks until it has ended, but for
// one with an observer, and may be cancelled or bounded in time (CallOptions); one that fails keeps
// the server's code and message, and its usage, request id and retry hint are found by
// call_status.h. ClientOptions say what is tried again.
class Client {
 public:
  // Returns at once: the first call connects, and a call after a lost connection does so again.
  // Where no server answers, a call ends with UNAVAILABLE.
  static Client Connect(const std::string& address, const ClientOptions& options = {});

  // Over a channel of the caller's making.
  explicit Client(std::shared_ptr<grpc::ChannelInterface> channel);

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request,
                                                const CallOptions& options = {}) const;
  GenerationStream GenerateStream(const v1::GenerateRequest& request,
                                  const CallOptions& options = {}) const;
  // The same for callers with more streams than threads: returns at once and tells `observer`.
  // That, and the client or a copy of it, must live until OnEnd. May be called from an observer,
  // too.
  void GenerateStream(const v1::GenerateRequest& request, GenerationObserver* observer,
                      const CallOptions& options = {}) const;

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request,
                                          const CallOptions& options = {}) const;
  // The scores of `continuations` after `context`, in their order, for plain text.
  absl::StatusOr<std::vector<v1::ScoredTokens>> ScoreContinuations(
      const std::string& model, const std::string& context,
      absl::Span<const std::string> continuations, const CallOptions& options = {}) const;

  absl::StatusOr<v1::TokenizeResponse> Tokenize(const std::string& model, const std::string& text,
                                                const CallOptions& options = {}) const;
  absl::StatusOr<std::string> Detokenize(const std::string& model,
                                         absl::Span<const int32_t> token_ids,
                                         const CallOptions& options = {}) const;

  absl::StatusOr<std::vector<v1::Model>> ListModels(const CallOptions& options = {}) const;
  absl::StatusOr<v1::Model> GetModel(const std::string& model,
                                     const CallOptions& options = {}) const;

  // Of a connection to a server's --admin address, whose only method it is.
  absl::StatusOr<v1::GetUsageResponse> GetUsage(const v1::GetUsageRequest& request,
                                                const CallOptions& options = {}) const;

  // OK while the server serves `model`, or serves at all where that is empty; UNAVAILABLE while it
  // does not, or nobody answers; NOT_FOUND where it has no such model. Needs no key.
  absl::Status CheckHealth(const std::string& model = "", const CallOptions& options = {}) const;

 private:
  std::shared_ptr<v1::InferenceService::StubInterface> stub_;
  std::shared_ptr<v1::AdminService::StubInterface> admin_stub_;
  std::shared_ptr<grpc::health::v1::Health::StubInterface> health_stub_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_CLIENT_H_
