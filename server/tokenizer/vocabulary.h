// A byte-level BPE vocabulary, as every file form is read into.
#ifndef DELTASERVE_SERVER_TOKENIZER_VOCABULARY_H_
#define DELTASERVE_SERVER_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace deltaserve {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

struct Token {
  std::string bytes;
  // Never the outcome of encoding text.
  bool special = false;
};

// Neighbours `left` and `right` may become `result`. The lowest rank goes first; of several
// places with that rank, the leftmost.
struct Merge {
  int32_t left;
  int32_t right;
  int32_t result;
  int32_t rank;
};

struct Vocabulary {
  std::vector<Token> tokens;  // by id
  std::vector<Merge> merges;  // no two with the same left and right
  // A piece that is itself an ordinary token becomes that token even if its merges lead elsewhere:
  // the rule of tiktoken, and of `ignore_merges` in tokenizer.json.
  bool prefer_whole_pieces = false;
};

struct NumberedToken {
  int64_t id;
  Token token;
};

// A vocabulary without merges. INVALID_ARGUMENT names the culprit when ids are not 0, 1, 2, ...
// each once, a token is empty, or two ordinary tokens have the same bytes. kEndOfText is special
// whatever its `special` says.
absl::StatusOr<Vocabulary> MakeVocabulary(std::vector<NumberedToken> tokens);

// Ids of the ordinary tokens by their bytes, which stay those of `vocabulary`.
using TokenIds = absl::flat_hash_map<std::string_view, int32_t>;
TokenIds OrdinaryTokenIds(const Vocabulary& vocabulary);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_VOCABULARY_H_
