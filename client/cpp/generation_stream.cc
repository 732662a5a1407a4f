#include "client/cpp/generation_stream.h"

#include "client/cpp/call_context.h"
#include "client/cpp/call_status.h"

namespace deltaserve {

GenerationStream::GenerationStream(v1::InferenceService::StubInterface& stub,
                                   const v1::GenerateRequest& request, const CallOptions& options)
    : context_(std::make_unique<CallContext>(options)),
      reader_(stub.GenerateStream(&context_->grpc(), request)) {}

GenerationStream::GenerationStream(GenerationStream&&) noexcept = default;

GenerationStream::~GenerationStream() {
  if (context_ != nullptr) Finish().IgnoreError();
}

bool GenerationStream::Read(v1::GenerateChunk* chunk) {
  has_more_ = has_more_ && reader_->Read(chunk);
  return has_more_;
}

void GenerationStream::Cancel() { context_->grpc().TryCancel(); }

absl::Status GenerationStream::Finish() {
  if (!status_) {
    if (has_more_) Cancel();
    status_ = ToAbslStatus(reader_->Finish(), context_->grpc());
  }
  return *status_;
}

void AppendChunk(const v1::GenerateChunk& chunk, v1::GenerateResponse& response) {
  if (!chunk.request_id().empty()) {
    response.set_request_id(chunk.request_id());
    response.set_model(chunk.model());
    response.set_seed(chunk.seed());
  }
  for (const v1::Sample& part : chunk.samples()) {
    while (response.samples_size() <= part.index()) {
      response.add_samples()->set_index(response.samples_size() - 1);
    }
    v1::Sample& whole = *response.mutable_samples(part.index());
    whole.mutable_text()->append(part.text());
    whole.mutable_token_ids()->MergeFrom(part.token_ids());
    whole.mutable_logprobs()->MergeFrom(part.logprobs());
    if (part.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
      whole.set_finish_reason(part.finish_reason());
    }
  }
  if (chunk.has_usage()) *response.mutable_usage() = chunk.usage();
}

}  // namespace deltaserve
