// GPT-2's byte alphabet: the 256 printable characters that its vocabulary files spell bytes with
// (`bytes_to_unicode` in OpenAI's encoder.py; " " is written "Ġ").
#ifndef DELTASERVE_SERVER_TOKENIZER_BYTE_ALPHABET_H_
#define DELTASERVE_SERVER_TOKENIZER_BYTE_ALPHABET_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve {

// The bytes that `spelled` (UTF-8) stands for. INVALID_ARGUMENT names the first character that is
// none of the 256.
absl::StatusOr<std::string> FromByteAlphabet(std::string_view spelled);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_BYTE_ALPHABET_H_
