#include "server/tokenizer/tiktoken_file.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/tokenizer/tokenizer.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "a", "b", "ab" as lines.
constexpr char kLines[] = "YQ== 0\nYg== 1\nYWI= 2\n";

TEST(ParseTiktoken, ReadsTokensByRank) {
  for (const char* text : {kLines, "YQ== 0\nYg== 1\nYWI= 2", "YWI= 2\r\nYg== 1\r\nYQ== 0\r\n"}) {
    const Vocabulary vocabulary = ParseTiktoken(text).value();
    ASSERT_EQ(vocabulary.tokens.size(), 3u);
    EXPECT_EQ(vocabulary.tokens[2].bytes, "ab");
    ASSERT_EQ(vocabulary.merges.size(), 1u);
    EXPECT_EQ(vocabulary.merges[0].result, 2);
  }
}

TEST(ParseTiktoken, MergesWhateverSpellsATokenByItsRank) {
  // a b c ab bc abc: "abc" is whole, and within "xabc"-like pieces "ab" goes before "bc".
  const auto tokenizer =
      Tokenizer::Create(ParseTiktoken("YQ== 0\nYg== 1\nYw== 2\nYWI= 3\nYmM= 4\nYWJj 5\n").value())
          .value();
  EXPECT_THAT(tokenizer->Encode("abc").value(), ElementsAre(5));
  EXPECT_THAT(tokenizer->Encode("abcbc").value(), ElementsAre(5, 4));
}

TEST(ParseTiktoken, OnlyAFileOfGpt2sSizeGetsEndOfText) {
  EXPECT_FALSE(Tokenizer::Create(ParseTiktoken(kLines).value()).value()->EndOfText().has_value());
  std::string ranks = ReadTestFile(Gpt2Dir() / "gpt2.tiktoken");
  EXPECT_EQ(ParseTiktoken(ranks).value().tokens.back().bytes, kEndOfText);
  absl::StrAppend(&ranks, absl::Base64Escape("not in GPT-2"), " 50256\n");
  EXPECT_EQ(ParseTiktoken(ranks).value().tokens.back().bytes, "not in GPT-2");
}

TEST(ParseTiktoken, NamesTheCulprit) {
  struct Case {
    std::string text;
    const char* error;
  };
  const std::string too_long = absl::Base64Escape(std::string(1025, 'x'));
  const Case cases[] = {
      {"", "the vocabulary is empty"},
      {"YQ== 0\n\nYg== 1\n", "line 2: \"\" is not a base64 token, one space and a rank"},
      {"YQ==", "line 1: \"YQ==\" is not a base64 token, one space and a rank"},
      {"YQ== 0\n 1\n", "line 2: \" 1\" is not a base64 token"},
      {"YQ== 0 0\n", "line 1: \"0 0\" is not a rank"},
      {"YQ==\t0\n", "line 1: \"YQ==\\t0\" is not a base64 token"},
      {"Y?== 0\n", "line 1: \"Y?==\" is not base64"},
      {"YQ= 0\n", "line 1: \"YQ=\" is not base64"},
      {"YR== 0\n", "line 1: \"YR==\" is not base64"},
      {"YQ== x\n", "line 1: \"x\" is not a rank"},
      {"YQ== 0x0\n", "line 1: \"0x0\" is not a rank"},
      {"YQ== 1.0\n", "line 1: \"1.0\" is not a rank"},
      {"YQ== 99999999999999999999\n", "line 1: \"99999999999999999999\" is not a rank"},
      {"YQ== -1\n", "token \"a\" has the negative id -1"},
      {"YQ== 0\nYg== 0\n", "tokens \"a\" and \"b\" share the id 0"},
      {"YQ== 0\nYg== 2\n", "no token has the id 1; the next is \"b\" with 2"},
      {"YQ== 9223372036854775807\n", "no token has the id 0"},
      {"YQ== 0\nYQ== 1\n", "token \"a\" has two ids, 0 and 1"},
      {too_long + " 0\n", "line 1: a token of 1025 bytes; the limit is 1024"},
  };
  for (const Case& c : cases) {
    const absl::Status status = ParseTiktoken(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error));
  }
}

}  // namespace
}  // namespace deltaserve
