#include "server/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

// The alphabet ends here: 188 bytes stand for themselves, the other 68 follow from U+0100 on.
constexpr int kAlphabetEnd = 0x100 + 68;
constexpr int16_t kNone = -1;

constexpr bool IsPrintableLatin1(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<int16_t, kAlphabetEnd> MakeByteOfCodePoint() {
  std::array<int16_t, kAlphabetEnd> byte_of{};
  byte_of.fill(kNone);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    byte_of[IsPrintableLatin1(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return byte_of;
}

constexpr std::array<int16_t, kAlphabetEnd> kByteOfCodePoint = MakeByteOfCodePoint();

// `character`: UTF-8 of one character. The alphabet's take one or two bytes.
int16_t ByteOf(std::string_view character) {
  int code_point = static_cast<uint8_t>(character[0]);
  if (character.size() == 2) {
    code_point = ((code_point & 0x1F) << 6) | (static_cast<uint8_t>(character[1]) & 0x3F);
  }
  if (character.size() > 2 || code_point >= kAlphabetEnd) return kNone;
  return kByteOfCodePoint[code_point];
}

}  // namespace

absl::StatusOr<std::string> FromByteAlphabet(std::string_view spelled) {
  std::string bytes;
  bytes.reserve(spelled.size());
  for (std::string_view rest = spelled; !rest.empty();) {
    const Utf8Step step = NextUtf8(rest);
    const std::string_view character = rest.substr(0, step.size);
    if (step.kind != Utf8Kind::kCharacter) {
      return absl::InvalidArgumentError(absl::StrCat(QuotedBytes(spelled), " is not UTF-8 at byte ",
                                                     spelled.size() - rest.size()));
    }
    const int16_t byte = ByteOf(character);
    if (byte == kNone) {
      return absl::InvalidArgumentError(
          absl::StrCat(QuotedBytes(spelled), " is not spelled in GPT-2's byte alphabet: character ",
                       QuotedBytes(character), " at byte ", spelled.size() - rest.size()));
    }
    bytes.push_back(static_cast<char>(byte));
    rest.remove_prefix(step.size);
  }
  return bytes;
}

}  // namespace deltaserve
