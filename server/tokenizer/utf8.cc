#include "server/tokenizer/utf8.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

// The bytes a sequence goes on with after its lead: how many, and the range of the first of them.
struct Continuation {
  size_t count;  // 0 when the lead byte begins no sequence
  uint8_t first_low;
  uint8_t first_high;
};

Continuation ContinuationOf(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1, 0x80, 0xBF};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {2, 0x80, 0xBF};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {3, 0x80, 0xBF};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step NextUtf8(std::string_view bytes) {
  const auto byte = [bytes](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  if (byte(0) < 0x80) return {Utf8Kind::kCharacter, 1};
  const Continuation continuation = ContinuationOf(byte(0));
  if (continuation.count == 0) return {Utf8Kind::kInvalid, 1};
  for (size_t i = 1; i <= continuation.count; ++i) {
    if (i == bytes.size()) return {Utf8Kind::kIncomplete, i};
    const uint8_t low = i == 1 ? continuation.first_low : 0x80;
    const uint8_t high = i == 1 ? continuation.first_high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {Utf8Kind::kInvalid, i};
  }
  return {Utf8Kind::kCharacter, continuation.count + 1};
}

size_t ValidUtf8Prefix(std::string_view bytes) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const Utf8Step step = NextUtf8(bytes.substr(offset));
    if (step.kind != Utf8Kind::kCharacter) break;
    offset += step.size;
  }
  return offset;
}

std::string QuotedBytes(std::string_view bytes) {
  constexpr size_t kMaxBytes = 64;
  const bool is_utf8 = ValidUtf8Prefix(bytes) == bytes.size();
  std::string head(bytes.substr(0, kMaxBytes));
  if (is_utf8) head.resize(ValidUtf8Prefix(head));
  const std::string escaped = is_utf8 ? absl::Utf8SafeCHexEscape(head) : absl::CHexEscape(head);
  if (head.size() == bytes.size()) return absl::StrCat("\"", escaped, "\"");
  return absl::StrCat("\"", escaped, "...\" (", bytes.size(), " bytes)");
}

}  // namespace deltaserve
