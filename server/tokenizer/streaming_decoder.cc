#include "server/tokenizer/streaming_decoder.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {

absl::StatusOr<std::string> StreamingDecoder::Push(int32_t id) {
  if (!tokenizer_->Contains(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("token id ", id, " is outside the vocabulary of ", tokenizer_->vocab_size()));
  }
  pending_ += tokenizer_->Piece(id);
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = NextUtf8(rest);
    if (step.kind == Utf8Kind::kIncomplete) break;
    text += step.kind == Utf8Kind::kCharacter ? rest.substr(0, step.size) : kReplacementCharacter;
    rest.remove_prefix(step.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string StreamingDecoder::Flush() {
  if (pending_.empty()) return "";
  pending_.clear();
  return std::string(kReplacementCharacter);
}

}  // namespace deltaserve
