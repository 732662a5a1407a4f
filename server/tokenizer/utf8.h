// UTF-8 as Unicode's table 3-7 defines it: no surrogates, no overlong forms, nothing past U+10FFFF.
#ifndef DELTASERVE_SERVER_TOKENIZER_UTF8_H_
#define DELTASERVE_SERVER_TOKENIZER_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace deltaserve {

// What the bytes begin with: a whole character, bytes that can begin none, or the first bytes of
// a character that the input ends in.
enum class Utf8Kind { kCharacter, kInvalid, kIncomplete };

struct Utf8Step {
  Utf8Kind kind;
  // Bytes taken. Of an ill-formed sequence, its maximal subpart: what one U+FFFD stands for under
  // Unicode's recommended practice, and in Python's errors="replace".
  size_t size;
};

// `bytes` must not be empty.
Utf8Step NextUtf8(std::string_view bytes);

// Offset of the first byte that is not part of a whole character; bytes.size() if all is well.
size_t ValidUtf8Prefix(std::string_view bytes);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// `bytes` in double quotes, made printable and cut to a length fit for an error message.
std::string QuotedBytes(std::string_view bytes);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_UTF8_H_
