#include "server/service/inference_service.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/service/generate_call.h"
#include "server/service/score_call.h"
#include "server/service/status_mapping.h"
#include "server/service/wire.h"
#include "server/tokenizer/streaming_decoder.h"

namespace deltaserve {
namespace {

using Rpcs = v1::InferenceService;

absl::StatusOr<const Tokenizer*> TokenizerOf(const ServedModel& model) {
  if (model.tokenizer == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: ", model.info.name, " has no tokenizer"));
  }
  return model.tokenizer.get();
}

absl::StatusOr<v1::TokenizeResponse> Tokenize(const ServedModel& model,
                                              const v1::TokenizeRequest& request) {
  absl::StatusOr<const Tokenizer*> tokenizer = TokenizerOf(model);
  if (!tokenizer.ok()) return tokenizer.status();
  absl::StatusOr<std::vector<int32_t>> ids = (*tokenizer)->Encode(request.text());
  if (!ids.ok()) {
    return absl::Status(ids.status().code(), absl::StrCat("text: ", ids.status().message()));
  }
  v1::TokenizeResponse response;
  for (int32_t id : *ids) {
    response.add_token_ids(id);
    response.add_pieces(std::string((*tokenizer)->Piece(id)));
  }
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const ServedModel& model,
                                                  const v1::DetokenizeRequest& request) {
  absl::StatusOr<const Tokenizer*> tokenizer = TokenizerOf(model);
  if (!tokenizer.ok()) return tokenizer.status();
  StreamingDecoder decoder(*tokenizer);
  v1::DetokenizeResponse response;
  for (int i = 0; i < request.token_ids_size(); ++i) {
    absl::StatusOr<std::string> text = decoder.Push(request.token_ids(i));
    if (!text.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids[", i, "]: ", text.status().message()));
    }
    response.mutable_text()->append(*text);
  }
  response.mutable_text()->append(decoder.Flush());
  return response;
}

absl::StatusOr<v1::Model> GetModel(const ServedModel& model, const v1::GetModelRequest&) {
  return ToProto(model.info, model.tokenizer != nullptr);
}

// The methods take and give bytes; see ParseRequest.
class Handlers final
    : public Rpcs::WithRawCallbackMethod_Generate<Rpcs::WithRawCallbackMethod_GenerateStream<
          Rpcs::WithRawCallbackMethod_Score<Rpcs::WithRawCallbackMethod_Tokenize<
              Rpcs::WithRawCallbackMethod_Detokenize<Rpcs::WithRawCallbackMethod_ListModels<
                  Rpcs::WithRawCallbackMethod_GetModel<Rpcs::Service>>>>>>> {
 public:
  explicit Handlers(const ServiceContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* grpc_context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return StartGenerate(context_, grpc_context, request, response);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* grpc_context, const grpc::ByteBuffer* request) override {
    return StartGenerateStream(context_, grpc_context, request);
  }

  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* grpc_context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return StartScore(context_, grpc_context, request, response);
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* grpc_context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return Answer(grpc_context, *request, response, deltaserve::Tokenize);
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* grpc_context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return Answer(grpc_context, *request, response, deltaserve::Detokenize);
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* grpc_context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return Answer(grpc_context, *request, response, deltaserve::GetModel);
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* grpc_context,
                                       const grpc::ByteBuffer*,
                                       grpc::ByteBuffer* response) override {
    const absl::StatusOr<Caller> caller =
        context_->tenants->Authenticate(grpc_context->client_metadata());
    v1::ListModelsResponse message;
    for (const ServedModel& model : context_->models->models()) {
      if (!caller.ok() || !caller->tenant->MayUse(model.info.name)) continue;
      *message.add_models() = ToProto(model.info, model.tokenizer != nullptr);
    }
    if (caller.ok()) *response = Serialize(message);
    grpc::ServerUnaryReactor* reactor = grpc_context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(caller.status()));
    return reactor;
  }

 private:
  // A method that a model answers on the spot.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* grpc_context,
                                   const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response,
                                   absl::StatusOr<Response> (*method)(const ServedModel&,
                                                                      const Request&)) {
    const auto answer = [&]() -> absl::StatusOr<Response> {
      absl::StatusOr<Caller> caller =
          context_->tenants->Authenticate(grpc_context->client_metadata());
      if (!caller.ok()) return caller.status();
      Request request;
      absl::Status status = ParseRequest(bytes, context_->limits.max_request_bytes, &request);
      if (!status.ok()) return status;
      absl::StatusOr<const ServedModel*> model =
          FindModelFor(*caller->tenant, *context_->models, request.model());
      if (!model.ok()) return model.status();
      return method(**model, request);
    }();
    if (answer.ok()) *response = Serialize(*answer);
    grpc::ServerUnaryReactor* reactor = grpc_context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(answer.status()));
    return reactor;
  }

  const ServiceContext* const context_;
};

}  // namespace

InferenceService::InferenceService(Dependencies dependencies, RequestLimits limits)
    : dependencies_(std::move(dependencies)),
      rates_(dependencies_.clock),
      context_{.models = dependencies_.models,
               .limits = limits,
               .clock = dependencies_.clock,
               .observer = dependencies_.observer,
               .log = dependencies_.log.get(),
               .text = &text_,
               .calls = &calls_,
               .ids = &ids_,
               .seeds = &seeds_,
               .tenants = dependencies_.tenants,
               .rates = &rates_},
      handlers_(std::make_unique<Handlers>(&context_)) {}

InferenceService::~InferenceService() = default;

}  // namespace deltaserve
