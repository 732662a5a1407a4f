#include "server/tokenizer/splitter.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> pieces;
  const absl::Status status = Splitter::Create().value().Split(
      text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(Splitter, GivesEachPieceTheSpaceBeforeIt) {
  EXPECT_THAT(Split(""), ElementsAre());
  EXPECT_THAT(Split("Hello world 42!?"), ElementsAre("Hello", " world", " 42", "!?"));
  EXPECT_THAT(Split("a1b2"), ElementsAre("a", "1", "b", "2"));
}

TEST(Splitter, KeepsContractionsOfLowerCaseApart) {
  EXPECT_THAT(Split("it's we'll I'd 'tis IT'S"),
              ElementsAre("it", "'s", " we", "'ll", " I", "'d", " '", "tis", " IT", "'", "S"));
}

TEST(Splitter, LeavesOneSpaceOfARunToTheNextWord) {
  EXPECT_THAT(Split("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Split("a \n b \n"), ElementsAre("a", " \n", " b", " \n"));
  EXPECT_THAT(Split("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
}

TEST(Splitter, KnowsUnicodeLettersAndNumbers) {
  EXPECT_THAT(Split("né Ⅷ½ 字"), ElementsAre("né", " Ⅷ½", " 字"));
  EXPECT_THAT(Split("e\u0301"), ElementsAre("e", "\u0301"));  // a mark is no letter
}

TEST(Splitter, WhiteSpaceIsTheUnicodeProperty) {
  const std::u32string_view white_space =
      U"\u0009\u000A\u000B\u000C\u000D\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
      U"\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000";
  for (const char32_t space : white_space) {
    // A single space goes with what follows it.
    EXPECT_EQ(Split(absl::StrCat("!", Utf8(space), "?")).size(), space == ' ' ? 2u : 3u)
        << static_cast<uint32_t>(space);
  }
  for (const char* other : {"\u001C", "\u180E", "\u200B", "\uFEFF"}) {
    EXPECT_EQ(Split(absl::StrCat("!", other, "?")).size(), 1u) << other;
  }
}

TEST(Splitter, PiecesAddUpToTheText) {
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    const std::string text = RandomText(random, Below(random, 100));
    std::string joined;
    for (const std::string& piece : Split(text)) {
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    EXPECT_EQ(joined, text);
  }
}

// PCRE2's stacks and limits must not depend on the length of a piece.
TEST(Splitter, TakesPiecesOfAMegabyte) {
  constexpr size_t kSize = 1 << 20;
  for (const char* unit : {"a", "7", "!", " ", "\n", "é", "字", "\u3000", "😀"}) {
    std::string run;
    while (run.size() < kSize) run += unit;
    EXPECT_THAT(Split(run), ElementsAre(run)) << unit;
  }
  const std::string spaces(kSize, ' ');
  EXPECT_THAT(Split(spaces + "a"), ElementsAre(spaces.substr(1), " a"));
  EXPECT_THAT(Split(spaces + "\xC2\xA0!"), ElementsAre(spaces, "\xC2\xA0", "!"));
}

}  // namespace
}  // namespace deltaserve
