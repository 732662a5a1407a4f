#ifndef DELTASERVE_TESTS_CLIENT_FAKE_SERVER_H_
#define DELTASERVE_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "deltaserve/v1/inference.grpc.pb.h"

namespace deltaserve {

// Answers as a test says; a method without an answer is UNIMPLEMENTED. Answers are set before the
// server's address is asked for and run on gRPC's threads.
struct FakeInferenceService final : v1::InferenceService::Service {
  template <typename Request, typename Response>
  using Unary = std::function<grpc::Status(grpc::ServerContext&, const Request&, Response&)>;

  Unary<v1::GenerateRequest, v1::GenerateResponse> generate;
  std::function<grpc::Status(grpc::ServerContext&, const v1::GenerateRequest&,
                             grpc::ServerWriter<v1::GenerateChunk>&)>
      generate_stream;
  Unary<v1::ScoreRequest, v1::ScoreResponse> score;
  Unary<v1::TokenizeRequest, v1::TokenizeResponse> tokenize;
  Unary<v1::DetokenizeRequest, v1::DetokenizeResponse> detokenize;
  Unary<v1::ListModelsRequest, v1::ListModelsResponse> list_models;
  Unary<v1::GetModelRequest, v1::Model> get_model;

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override {
    return Answer(generate, context, request, response);
  }
  grpc::Status GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::GenerateChunk>* writer) override {
    return Answer(generate_stream, context, request, writer);
  }
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override {
    return Answer(score, context, request, response);
  }
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    return Answer(tokenize, context, request, response);
  }
  grpc::Status Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    return Answer(detokenize, context, request, response);
  }
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    return Answer(list_models, context, request, response);
  }
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::Model* response) override {
    return Answer(get_model, context, request, response);
  }

 private:
  template <typename Function, typename Request, typename Response>
  static grpc::Status Answer(const Function& answer, grpc::ServerContext* context,
                             const Request* request, Response* response) {
    if (!answer) return grpc::Status(grpc::UNIMPLEMENTED, "no answer");
    return answer(*context, *request, *response);
  }
};

// `service` on a free port of loopback, from when its address is first asked for while this lives.
class FakeServer {
 public:
  ~FakeServer() { Shutdown(); }

  // Ends what is left and its threads: before that goes which the service's answers use.
  void Shutdown() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  const std::string& address() {
    if (server_ == nullptr) Start();
    return address_;
  }

  // Where gRPC's health service was enabled when the address was first asked for.
  grpc::HealthCheckServiceInterface& health() { return *server_->GetHealthCheckService(); }

  FakeInferenceService service;

 private:
  void Start() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

// Blocks until the client has gone away.
inline grpc::Status AwaitCancellation(grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return grpc::Status::CANCELLED;
}

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_CLIENT_FAKE_SERVER_H_
