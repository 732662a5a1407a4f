// tiktoken's ranks file: lines of "<base64 of a token's bytes> <rank>".
#ifndef DELTASERVE_SERVER_TOKENIZER_TIKTOKEN_FILE_H_
#define DELTASERVE_SERVER_TOKENIZER_TIKTOKEN_FILE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "server/tokenizer/vocabulary.h"

namespace deltaserve {

// `text`: the file's content. A token's rank is its id and the rank of every merge that makes it.
// The file names no special tokens; one of GPT-2's size gets kEndOfText after its last rank.
// INVALID_ARGUMENT names the line or the token at fault.
absl::StatusOr<Vocabulary> ParseTiktoken(std::string_view text);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_TIKTOKEN_FILE_H_
