#include "server/tokenizer/tiktoken_file.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/lines.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

constexpr size_t kGpt2Ranks = 50256;
// Far beyond any real token; keeps the search for merges linear in the file.
constexpr size_t kMaxTokenBytes = 1024;

absl::StatusOr<NumberedToken> ParseLine(std::string_view line) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string base64(line.substr(0, space));
  const std::string_view rank = line.substr(std::min(space + 1, line.size()));
  if (base64.empty() || rank.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(QuotedBytes(line), " is not a base64 token, one space and a rank"));
  }
  NumberedToken parsed;
  std::string& bytes = parsed.token.bytes;
  // Abseil overlooks white space and missing padding; a faithful file has neither.
  if (!absl::Base64Unescape(base64, &bytes) || absl::Base64Escape(bytes) != base64) {
    return absl::InvalidArgumentError(absl::StrCat(QuotedBytes(base64), " is not base64"));
  }
  if (bytes.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a token of ", bytes.size(), " bytes; the limit is ", kMaxTokenBytes));
  }
  const char* const end = rank.data() + rank.size();
  const auto [rest, error] = std::from_chars(rank.data(), end, parsed.id);
  if (error != std::errc() || rest != end) {
    return absl::InvalidArgumentError(absl::StrCat(QuotedBytes(rank), " is not a rank"));
  }
  return parsed;
}

// tiktoken merges whatever neighbours spell a token, by that token's rank.
std::vector<Merge> MergesByRank(const Vocabulary& vocabulary) {
  const TokenIds ids = OrdinaryTokenIds(vocabulary);
  std::vector<Merge> merges;
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.tokens.size()); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.special) continue;
    const std::string_view bytes = token.bytes;
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = ids.find(bytes.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(bytes.substr(cut));
      if (right == ids.end()) continue;
      merges.push_back({left->second, right->second, id, /*rank=*/id});
    }
  }
  return merges;
}

}  // namespace

absl::StatusOr<Vocabulary> ParseTiktoken(std::string_view text) {
  std::vector<NumberedToken> tokens;
  const absl::Status status = ForEachLine(text, [&](int64_t, std::string_view line) {
    absl::StatusOr<NumberedToken> token = ParseLine(line);
    if (token.ok()) tokens.push_back(*std::move(token));
    return token.status();
  });
  if (!status.ok()) return status;
  if (tokens.size() == kGpt2Ranks) {
    tokens.push_back({kGpt2Ranks, {std::string(kEndOfText), /*special=*/true}});
  }
  absl::StatusOr<Vocabulary> vocabulary = MakeVocabulary(std::move(tokens));
  if (!vocabulary.ok()) return vocabulary.status();
  vocabulary->merges = MergesByRank(*vocabulary);
  vocabulary->prefer_whole_pieces = true;
  return vocabulary;
}

}  // namespace deltaserve
