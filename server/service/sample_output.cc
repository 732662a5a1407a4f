#include "server/service/sample_output.h"

#include <algorithm>
#include <utility>

#include "server/service/wire.h"

namespace deltaserve {

OutputFormat::OutputFormat(const ServedModel& model, const GenerateRequest& request,
                           TextOptions text_options)
    : tokenizer(model.tokenizer.get()),
      text(std::move(text_options)),
      matcher(*StopMatcher::Create(text.stop, /*include_stop=*/true)),  // validated
      min_tokens(request.min_tokens),
      logprobs(request.logprobs.has_value()) {
  if (!text.include_stop) hidden_ids = request.stop_token_ids;
  if (!request.ignore_eos && model.info.eos_token_id.has_value()) {
    hidden_ids.push_back(*model.info.eos_token_id);
  }
}

SampleOutput::SampleOutput(const OutputFormat* format, int32_t index)
    : format_(format), index_(index), decoder_(format->tokenizer), matcher_(format->matcher) {}

bool SampleOutput::Push(const SampledToken& token) {
  if (finished_) return false;
  ++num_tokens_;
  has_news_ = true;
  news_.add_token_ids(token.id);
  if (format_->logprobs) {
    *news_.add_logprobs() = ToProto(token.id, token.logprob, token.top, format_->tokenizer);
  }
  const std::vector<int32_t>& hidden = format_->hidden_ids;
  if (format_->tokenizer == nullptr ||
      std::find(hidden.begin(), hidden.end(), token.id) != hidden.end()) {
    return false;
  }
  // Ids that only pad the model's vocabulary have no text.
  Search(decoder_.Push(token.id).value_or(""), num_tokens_ >= format_->min_tokens);
  return finished_;
}

void SampleOutput::Finish(FinishReason reason) {
  if (finished_) return;
  if (format_->tokenizer != nullptr) {
    Search(decoder_.Flush(), num_tokens_ >= format_->min_tokens);
    if (finished_) return;
    news_.mutable_text()->append(matcher_.Flush());
  }
  End(reason);
}

void SampleOutput::Search(std::string_view text, bool may_stop) {
  while (true) {
    held_bytes_ += text.size();
    std::string visible = matcher_.Push(text);
    held_bytes_ -= visible.size();
    if (!matcher_.matched().has_value()) {
      news_.mutable_text()->append(visible);
      return;
    }
    if (may_stop) {
      if (!format_->text.include_stop) {
        visible.resize(visible.size() - format_->text.stop[*matcher_.matched()].size());
      }
      news_.mutable_text()->append(visible);
      End(FinishReason::kStop);
      return;
    }
    // A stop string that is complete before min_tokens is ordinary text; the search goes on behind
    // it.
    news_.mutable_text()->append(visible);
    text.remove_prefix(text.size() - std::exchange(held_bytes_, 0));
    matcher_ = format_->matcher;
  }
}

void SampleOutput::End(FinishReason reason) {
  finished_ = true;
  has_news_ = true;
  news_.set_finish_reason(ToProto(reason));
}

v1::Sample SampleOutput::Take() {
  has_news_ = false;
  news_.set_index(index_);
  return std::exchange(news_, {});
}

}  // namespace deltaserve
