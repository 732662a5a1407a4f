#include "server/service/score_call.h"

#include <memory>
#include <utility>
#include <vector>

#include "server/service/token_mailbox.h"
#include "server/service/wire.h"

namespace deltaserve {
namespace {

class ScoreCall final : public grpc::ServerUnaryReactor, public TokenMailbox::Reader {
 public:
  ScoreCall(const ServiceContext* context, grpc::CallbackServerContext* grpc_context,
            grpc::ByteBuffer* response)
      : context_(context), record_(context, Method::kScore, grpc_context), response_(response) {}

  void Start(const grpc::ByteBuffer& bytes, std::shared_ptr<TokenMailbox> mailbox) {
    mailbox_ = mailbox;
    absl::Status status = Submit(bytes, std::move(mailbox));
    if (!status.ok()) Finish(record_.Refuse(status));
  }

  void OnMail(Mail mail) override {
    if (!mail.outcome.has_value()) return;
    const RequestOutcome& outcome = *mail.outcome;
    if (outcome.status.ok()) *response_ = Serialize(Response(outcome));
    Finish(record_.End(outcome.status, outcome.usage));
  }

  void OnCancel() override {
    record_.Cancel();
    if (model_ != nullptr) model_->queue->Cancel(record_.id());
  }
  void OnDone() override { std::exchange(mailbox_, nullptr)->Close(); }

 private:
  absl::Status Submit(const grpc::ByteBuffer& bytes, std::shared_ptr<TokenSink> sink) {
    if (absl::Status status = record_.Admissible(bytes); !status.ok()) return status;
    v1::ScoreRequest message;
    if (absl::Status status = ParseRequest(bytes, context_->limits.max_request_bytes, &message);
        !status.ok()) {
      return status;
    }
    absl::StatusOr<const ServedModel*> model = record_.FindModel(message.model());
    if (!model.ok()) return model.status();
    model_ = *model;
    absl::StatusOr<ScoreRequest> request = Validate(message, *model_, context_->limits);
    if (!request.ok()) return request.status();

    int64_t tokens = request->context.size();
    for (const auto& continuation : request->continuations) tokens += continuation.size();
    if (absl::Status status = record_.AdmitTokens(tokens); !status.ok()) return status;
    record_.Identify(&*request);
    sequence_ = request->context;
    continuations_ = request->continuations;
    absl::Status status = model_->queue->Submit(*std::move(request), std::move(sink));
    if (status.ok()) record_.SetAccepted();
    return status;
  }

  v1::ScoreResponse Response(const RequestOutcome& outcome) const {
    const Tokenizer* tokenizer = model_->tokenizer.get();
    const ScoreResult& score = *outcome.score;
    v1::ScoreResponse response;
    response.set_request_id(record_.request_id());
    response.set_model(model_->info.name);
    response.mutable_token_ids()->Add(sequence_.begin(), sequence_.end());
    if (continuations_.empty()) {
      *response.mutable_sequence() =
          ToProto(absl::MakeConstSpan(sequence_).subspan(1), score.sequence, tokenizer);
    }
    for (size_t i = 0; i < continuations_.size(); ++i) {
      *response.add_continuations() = ToProto(continuations_[i], score.continuations[i], tokenizer);
    }
    if (score.trace.num_tokens > 0) *response.mutable_trace() = ToProto(score.trace);
    *response.mutable_usage() = ToProto(outcome.usage);
    return response;
  }

  const ServiceContext* const context_;
  CallRecord record_;
  grpc::ByteBuffer* const response_;  // gRPC's, until OnDone
  std::shared_ptr<TokenMailbox> mailbox_;
  const ServedModel* model_ = nullptr;
  std::vector<int32_t> sequence_;  // or context
  std::vector<std::vector<int32_t>> continuations_;
};

}  // namespace

grpc::ServerUnaryReactor* StartScore(const ServiceContext* context,
                                     grpc::CallbackServerContext* grpc_context,
                                     const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  auto call = std::make_shared<ScoreCall>(context, grpc_context, response);
  call->Start(*request, std::make_shared<TokenMailbox>(call, context->text, context->clock));
  return call.get();
}

}  // namespace deltaserve
