#include "server/tokenizer/merge_list.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/byte_alphabet.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {

absl::Status MergeList::Add(std::string_view left, std::string_view right) {
  const absl::StatusOr<std::string> left_bytes = FromByteAlphabet(left);
  if (!left_bytes.ok()) return left_bytes.status();
  const absl::StatusOr<std::string> right_bytes = FromByteAlphabet(right);
  if (!right_bytes.ok()) return right_bytes.status();

  int32_t resolved[3];
  int32_t* id = resolved;
  for (const std::string& bytes : {*left_bytes, *right_bytes, *left_bytes + *right_bytes}) {
    const auto found = ids_.find(bytes);
    if (found == ids_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("merging ", QuotedBytes(left), " and ",
                                                     QuotedBytes(right), ": no ordinary token is ",
                                                     QuotedBytes(bytes)));
    }
    *id++ = found->second;
  }

  const auto rank = static_cast<int32_t>(merges_.size());
  const auto [first, inserted] = ranks_.emplace(std::make_pair(resolved[0], resolved[1]), rank);
  if (!inserted) {
    return absl::InvalidArgumentError(absl::StrCat("merging ", QuotedBytes(left), " and ",
                                                   QuotedBytes(right),
                                                   " repeats the merge of rank ", first->second));
  }
  merges_.push_back({resolved[0], resolved[1], resolved[2], rank});
  return absl::OkStatus();
}

absl::Status MergeList::Add(std::string_view pair) {
  const size_t space = pair.find(' ');
  if (space == std::string_view::npos || pair.find(' ', space + 1) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(QuotedBytes(pair), " is not two tokens with one space between them"));
  }
  return Add(pair.substr(0, space), pair.substr(space + 1));
}

}  // namespace deltaserve
