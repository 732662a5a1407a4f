// The JSON forms of a byte-level BPE tokenizer, as Hugging Face's libraries write them.
#ifndef DELTASERVE_SERVER_TOKENIZER_TOKENIZER_JSON_H_
#define DELTASERVE_SERVER_TOKENIZER_TOKENIZER_JSON_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/tokenizer/vocabulary.h"

namespace deltaserve {

// Each takes a file's content and answers INVALID_ARGUMENT, naming the key, line or token at
// fault, for what is malformed and for whatever would change an encoding in a way not known here.

// tokenizer.json: a BPE model with ByteLevel pre-tokenizer and decoder, no prefix space and no
// normalizer. Merges are strings "a b" or pairs ["a", "b"]. All added tokens must be special.
absl::StatusOr<Vocabulary> ParseTokenizerJson(std::string_view text);

// vocab.json: {token: id, ...}. The merges are left empty.
absl::StatusOr<Vocabulary> ParseVocabJson(std::string_view text);

// merges.txt: an optional "#version" line, then one "a b" per line.
absl::StatusOr<std::vector<Merge>> ParseMerges(std::string_view text, const Vocabulary& vocabulary);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_TOKENIZER_JSON_H_
