#include "server/tokenizer/utf8.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

TEST(NextUtf8, TakesEveryScalarValueAndNothingElse) {
  for (char32_t scalar = 0; scalar <= 0x11FFFF; ++scalar) {
    const bool is_scalar = scalar <= 0x10FFFF && (scalar < 0xD800 || scalar > 0xDFFF);
    const std::string bytes = Utf8(scalar);
    const Utf8Step step = NextUtf8(bytes);
    ASSERT_EQ(step.kind == Utf8Kind::kCharacter, is_scalar) << static_cast<uint32_t>(scalar);
    ASSERT_EQ(step.size, is_scalar ? bytes.size() : 1) << static_cast<uint32_t>(scalar);
  }
}

TEST(NextUtf8, TakesTheMaximalSubpart) {
  struct Case {
    std::string_view bytes;
    Utf8Kind kind;
    size_t size;
  };
  const Case cases[] = {
      {"\x80", Utf8Kind::kInvalid, 1},              // a continuation byte
      {"\xC0\x80", Utf8Kind::kInvalid, 1},          // overlong
      {"\xE0\x9F\xBF", Utf8Kind::kInvalid, 1},      // overlong
      {"\xF0\x8F\xBF\xBF", Utf8Kind::kInvalid, 1},  // overlong
      {"\xED\xA0\x80", Utf8Kind::kInvalid, 1},      // a surrogate
      {"\xF4\x90\x80\x80", Utf8Kind::kInvalid, 1},  // past U+10FFFF
      {"\xE2\x82"
       "A",
       Utf8Kind::kInvalid, 2},
      {"\xF0\x9F\x98\xF0", Utf8Kind::kInvalid, 3},
      {"\xC3", Utf8Kind::kIncomplete, 1},
      {"\xE2\x82", Utf8Kind::kIncomplete, 2},
      {"\xF0\x9F\x98", Utf8Kind::kIncomplete, 3},
  };
  for (const Case& c : cases) {
    const Utf8Step step = NextUtf8(c.bytes);
    EXPECT_EQ(step.kind, c.kind) << QuotedBytes(c.bytes);
    EXPECT_EQ(step.size, c.size) << QuotedBytes(c.bytes);
  }
}

TEST(ValidUtf8Prefix, EndsBeforeTheFirstCharacterThatIsNotWhole) {
  EXPECT_EQ(ValidUtf8Prefix(""), 0u);
  EXPECT_EQ(ValidUtf8Prefix("h\xC3\xA9"), 3u);
  EXPECT_EQ(ValidUtf8Prefix("h\xC3\xA9\xE2\x82"), 3u);
  EXPECT_EQ(ValidUtf8Prefix("a\xFF"
                            "b"),
            1u);
}

TEST(QuotedBytes, IsPrintableAndShort) {
  EXPECT_EQ(QuotedBytes("a\"\n"), R"("a\"\n")");
  EXPECT_EQ(QuotedBytes("\xC4\xA0t"), "\"\xC4\xA0t\"");
  EXPECT_EQ(QuotedBytes("\xC4"), R"("\xc4")");
  EXPECT_EQ(QuotedBytes(std::string(1000, 'x')),
            "\"" + std::string(64, 'x') + "...\" (1000 bytes)");
}

}  // namespace
}  // namespace deltaserve
