#include "server/tokenizer/vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {

absl::StatusOr<Vocabulary> MakeVocabulary(std::vector<NumberedToken> tokens) {
  if (tokens.empty()) return absl::InvalidArgumentError("the vocabulary is empty");
  if (tokens.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("too many tokens: ", tokens.size()));
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const NumberedToken& a, const NumberedToken& b) { return a.id < b.id; });

  Vocabulary vocabulary;
  vocabulary.tokens.reserve(tokens.size());
  for (auto& [id, token] : tokens) {
    const auto expected = static_cast<int64_t>(vocabulary.tokens.size());
    if (token.bytes.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("the token with id ", id, " is empty"));
    }
    if (id < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", QuotedBytes(token.bytes), " has the negative id ", id));
    }
    if (id < expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens ", QuotedBytes(vocabulary.tokens[id].bytes), " and ",
                       QuotedBytes(token.bytes), " share the id ", id));
    }
    if (id > expected) {
      return absl::InvalidArgumentError(absl::StrCat("no token has the id ", expected,
                                                     "; the next is ", QuotedBytes(token.bytes),
                                                     " with ", id));
    }
    token.special = token.special || token.bytes == kEndOfText;
    vocabulary.tokens.push_back(std::move(token));
  }

  TokenIds ids;
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.tokens.size()); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.special) continue;
    const auto [first, inserted] = ids.emplace(token.bytes, id);
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat("token ", QuotedBytes(token.bytes),
                                                     " has two ids, ", first->second, " and ", id));
    }
  }
  return vocabulary;
}

TokenIds OrdinaryTokenIds(const Vocabulary& vocabulary) {
  TokenIds ids;
  ids.reserve(vocabulary.tokens.size());
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.tokens.size()); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (!token.special) ids.emplace(token.bytes, id);
  }
  return ids;
}

}  // namespace deltaserve
