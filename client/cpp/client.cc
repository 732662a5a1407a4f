#include "client/cpp/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cpp/call_context.h"
#include "client/cpp/observed_generation.h"

namespace deltaserve {
namespace {

using Stub = v1::InferenceService::StubInterface;

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(Stub& stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request, const CallOptions& options) {
  CallContext context(options);
  Response response;
  const grpc::Status status = (stub.*method)(&context.grpc(), request, &response);
  if (!status.ok()) return ToAbslStatus(status, context.grpc());
  return response;
}

// gRPC's service config: github.com/grpc/grpc-proto, grpc/service_config/service_config.proto.
std::string ServiceConfig(const ClientOptions& options) {
  std::vector<std::string> parts;
  if (options.retry) {
    parts.push_back(R"("methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4,)"
                    R"( "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,)"
                    R"( "retryableStatusCodes": ["UNAVAILABLE"]}}])");
  }
  if (options.round_robin) {
    parts.push_back(
        R"("loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""})");
  }
  return absl::StrCat("{", absl::StrJoin(parts, ", "), "}");
}

template <typename T>
std::vector<T> TakeAll(google::protobuf::RepeatedPtrField<T>* field) {
  return {std::make_move_iterator(field->begin()), std::make_move_iterator(field->end())};
}

}  // namespace

Client Client::Connect(const std::string& address, const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // A rewrite trace outgrows gRPC's default of 4 MiB; what comes back is bounded by the server.
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetServiceConfigJSON(ServiceConfig(options));
  return Client(grpc::CreateCustomChannel(
      address, options.credentials ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments));
}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel)
    : stub_(v1::InferenceService::NewStub(channel)),
      admin_stub_(v1::AdminService::NewStub(channel)),
      health_stub_(grpc::health::v1::Health::NewStub(std::move(channel))) {}

absl::StatusOr<v1::GenerateResponse> Client::Generate(const v1::GenerateRequest& request,
                                                      const CallOptions& options) const {
  return Call(*stub_, &Stub::Generate, request, options);
}

GenerationStream Client::GenerateStream(const v1::GenerateRequest& request,
                                        const CallOptions& options) const {
  return GenerationStream(*stub_, request, options);
}

void Client::GenerateStream(const v1::GenerateRequest& request, GenerationObserver* observer,
                            const CallOptions& options) const {
  StartObservedGeneration(*stub_, request, observer, options);
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request,
                                                const CallOptions& options) const {
  return Call(*stub_, &Stub::Score, request, options);
}

absl::StatusOr<std::vector<v1::ScoredTokens>> Client::ScoreContinuations(
    const std::string& model, const std::string& context,
    absl::Span<const std::string> continuations, const CallOptions& options) const {
  v1::ScoreRequest request;
  request.set_model(model);
  request.set_text(context);
  for (const std::string& continuation : continuations) {
    request.add_continuations()->set_text(continuation);
  }
  absl::StatusOr<v1::ScoreResponse> response = Score(request, options);
  if (!response.ok()) return response.status();
  return TakeAll(response->mutable_continuations());
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const std::string& model,
                                                      const std::string& text,
                                                      const CallOptions& options) const {
  v1::TokenizeRequest request;
  request.set_model(model);
  request.set_text(text);
  return Call(*stub_, &Stub::Tokenize, request, options);
}

absl::StatusOr<std::string> Client::Detokenize(const std::string& model,
                                               absl::Span<const int32_t> token_ids,
                                               const CallOptions& options) const {
  v1::DetokenizeRequest request;
  request.set_model(model);
  request.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  absl::StatusOr<v1::DetokenizeResponse> response =
      Call(*stub_, &Stub::Detokenize, request, options);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_text());
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels(const CallOptions& options) const {
  absl::StatusOr<v1::ListModelsResponse> response =
      Call(*stub_, &Stub::ListModels, v1::ListModelsRequest(), options);
  if (!response.ok()) return response.status();
  return TakeAll(response->mutable_models());
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& model,
                                           const CallOptions& options) const {
  v1::GetModelRequest request;
  request.set_model(model);
  return Call(*stub_, &Stub::GetModel, request, options);
}

absl::StatusOr<v1::GetUsageResponse> Client::GetUsage(const v1::GetUsageRequest& request,
                                                      const CallOptions& options) const {
  return Call(*admin_stub_, &v1::AdminService::StubInterface::GetUsage, request, options);
}

absl::Status Client::CheckHealth(const std::string& model, const CallOptions& options) const {
  using grpc::health::v1::HealthCheckResponse;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(model);
  const absl::StatusOr<HealthCheckResponse> response =
      Call(*health_stub_, &grpc::health::v1::Health::StubInterface::Check, request, options);
  if (!response.ok()) return response.status();
  if (response->status() == HealthCheckResponse::SERVING) return absl::OkStatus();
  return absl::UnavailableError(HealthCheckResponse::ServingStatus_Name(response->status()));
}

}  // namespace deltaserve
