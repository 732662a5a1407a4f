#include "server/service/generate_core.h"

#include <utility>

#include "server/service/wire.h"

namespace deltaserve {

absl::Status GenerateCore::Start(const grpc::ByteBuffer& bytes, std::shared_ptr<TokenSink> sink) {
  if (absl::Status status = record_.Admissible(bytes); !status.ok()) return status;
  v1::GenerateRequest message;
  if (absl::Status status = ParseRequest(bytes, context_->limits.max_request_bytes, &message);
      !status.ok()) {
    return status;
  }
  absl::StatusOr<const ServedModel*> model = record_.FindModel(message.model());
  if (!model.ok()) return model.status();
  model_ = *model;
  absl::StatusOr<ValidGenerate> valid = Validate(message, *model_, context_->seeds->Next());
  if (!valid.ok()) return valid.status();

  GenerateRequest& request = valid->request;
  const int64_t most_tokens = request.prompt.size() + request.n * request.max_tokens;
  if (absl::Status status = record_.AdmitTokens(most_tokens); !status.ok()) return status;
  record_.Identify(&request);
  seed_ = request.sampling.seed;
  format_ = std::make_unique<OutputFormat>(*model_, request, std::move(valid->text));
  for (int32_t i = 0; i < request.n; ++i) samples_.emplace_back(format_.get(), i);
  stats_.resize(request.n);

  // From here on, the text thread has the call; this one may still use what does not change.
  absl::Status status = model_->queue->Submit(std::move(request), std::move(sink));
  if (status.ok()) record_.SetAccepted();
  return status;
}

void GenerateCore::Read(const Mail& mail) {
  absl::Span<const SampledToken> tokens = mail.tokens;
  for (const Mail::Event& event : mail.events) {
    SampleOutput& sample = samples_[event.sample];
    Report(event);
    for (const SampledToken& token : tokens.first(event.num_tokens)) {
      if (sample.Push(token)) model_->queue->StopSample(record_.id(), event.sample);
    }
    tokens.remove_prefix(event.num_tokens);
    if (event.done.has_value()) sample.Finish(*event.done);
  }
}

void GenerateCore::Report(const Mail::Event& event) {
  SampleStats& stats = stats_[event.sample];
  // What came after a stop string is not shown.
  if (event.num_tokens > 0 && !samples_[event.sample].finished()) {
    if (stats.tokens == 0) {
      stats.first_at = event.at;
    } else {
      context_->observer->OnInterTokenLatency(
          model_->info.name, (event.at - stats.last_at) / event.num_tokens, event.num_tokens);
    }
    stats.last_at = event.at;
    stats.tokens += event.num_tokens;
  }
  if (event.done.has_value()) {
    stats.reason = *event.done;
    context_->observer->OnSampleDone(model_->info.name, stats);
  }
}

void GenerateCore::Cancel() {
  record_.Cancel();
  if (model_ != nullptr) model_->queue->Cancel(record_.id());
}

}  // namespace deltaserve
