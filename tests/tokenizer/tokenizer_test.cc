#include "server/tokenizer/tokenizer.h"

#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/tokenizer/tokenizer_json.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

void ExpectGoldens(const Tokenizer& tokenizer, const std::filesystem::path& goldens) {
  const json cases = json::parse(ReadTestFile(goldens));
  ASSERT_FALSE(cases.empty());
  for (const json& golden : cases) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Encode(text).value(), ids) << golden;
    EXPECT_EQ(tokenizer.Decode(ids).value(), text) << golden;
  }
}

enum class Form { kTokenizerJsonPairs, kTokenizerJsonStrings, kVocabAndMerges, kTiktoken };

std::unique_ptr<Tokenizer> LoadGpt2(Form form) {
  const auto load = [](std::initializer_list<std::pair<std::string, std::string>> files) {
    const TempDir dir(files);
    return Tokenizer::Load(dir.path()).value();
  };
  const auto file = [](const char* name) {
    return std::make_pair(std::string(name), ReadTestFile(Gpt2Dir() / name));
  };
  switch (form) {
    case Form::kTokenizerJsonPairs:
      return load({{"tokenizer.json", Gpt2TokenizerJson(/*merges_as_pairs=*/true)}});
    case Form::kTokenizerJsonStrings:
      return load({{"tokenizer.json", Gpt2TokenizerJson(/*merges_as_pairs=*/false)}});
    case Form::kVocabAndMerges:
      return load({file("vocab.json"), file("merges.txt")});
    case Form::kTiktoken:
      return load({file("gpt2.tiktoken")});
  }
  return nullptr;
}

class Gpt2Form : public ::testing::TestWithParam<Form> {
 protected:
  // Each form is loaded once for all tests.
  Gpt2Form() {
    static auto* const tokenizers = new std::map<Form, std::unique_ptr<Tokenizer>>;
    auto& tokenizer = (*tokenizers)[GetParam()];
    if (tokenizer == nullptr) tokenizer = LoadGpt2(GetParam());
    tokenizer_ = tokenizer.get();
  }

  const Tokenizer* tokenizer_;
};

TEST_P(Gpt2Form, ReproducesTheGoldens) { ExpectGoldens(*tokenizer_, Gpt2Dir() / "goldens.json"); }

TEST_P(Gpt2Form, HasGpt2sVocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), 50257);
  EXPECT_EQ(tokenizer_->EndOfText(), 50256);
  EXPECT_EQ(tokenizer_->Piece(50256), "<|endoftext|>");
  EXPECT_TRUE(tokenizer_->IsSpecial(50256));
  EXPECT_FALSE(tokenizer_->IsSpecial(50255));
  EXPECT_EQ(tokenizer_->Piece(0), "!");
  EXPECT_EQ(tokenizer_->Piece(220), " ");
  EXPECT_EQ(tokenizer_->Piece(50255), " gazed");
}

TEST_P(Gpt2Form, AgreesWithTheOtherFormsOnRandomText) {
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    const std::string text = RandomText(random, 60);
    EXPECT_EQ(tokenizer_->Encode(text).value(), Gpt2().Encode(text).value());
  }
}

std::string FormName(const ::testing::TestParamInfo<Form>& info) {
  switch (info.param) {
    case Form::kTokenizerJsonPairs:
      return "TokenizerJsonPairs";
    case Form::kTokenizerJsonStrings:
      return "TokenizerJsonStrings";
    case Form::kVocabAndMerges:
      return "VocabAndMerges";
    case Form::kTiktoken:
      return "Tiktoken";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Forms, Gpt2Form,
                         ::testing::Values(Form::kTokenizerJsonPairs, Form::kTokenizerJsonStrings,
                                           Form::kVocabAndMerges, Form::kTiktoken),
                         FormName);

TEST(Tokenizer, ReproducesTheLibraryThatWroteTheFile) {
  const auto tokenizer = Tokenizer::Load(TrainedDir()).value();
  EXPECT_EQ(tokenizer->vocab_size(), 1000);
  EXPECT_EQ(tokenizer->EndOfText(), 0);
  ExpectGoldens(*tokenizer, TrainedDir() / "goldens.json");
}

TEST(Tokenizer, DecodesWhatItEncodes) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = RandomText(random, Below(random, 80));
    const auto ids = Gpt2().Encode(text).value();
    ASSERT_EQ(Gpt2().Decode(ids).value(), text);
  }
}

TEST(Tokenizer, DecodesEveryCharacterItEncodes) {
  std::string text;
  for (char32_t scalar = 0; scalar <= 0x10FFFF; scalar += scalar < 0x3000 ? 1 : 17) {
    if (scalar < 0xD800 || scalar > 0xDFFF) text += Utf8(scalar);
  }
  EXPECT_EQ(Gpt2().Decode(Gpt2().Encode(text).value()).value(), text);
}

TEST(Tokenizer, DecodesToRawBytes) {
  const auto ids = Gpt2().Encode("é字").value();
  std::string joined;
  for (const int32_t id : ids) joined += Gpt2().Piece(id);
  EXPECT_EQ(joined, "é字");
  EXPECT_EQ(Gpt2().Decode({149}).value(), "\xD9");
  EXPECT_EQ(Gpt2().Decode({}).value(), "");
}

TEST(Tokenizer, SpecialTokensInTextAreText) {
  const auto ids = Gpt2().Encode("<|endoftext|>").value();
  EXPECT_EQ(ids.size(), 7u);
  EXPECT_THAT(ids, ::testing::Not(::testing::Contains(50256)));
  EXPECT_EQ(Gpt2().Decode({15496, 50256}).value(), "Hello<|endoftext|>");
}

// Quadratic work would take hours here.
TEST(Tokenizer, TakesPiecesOfAMegabyte) {
  constexpr size_t kSize = 1 << 20;
  const auto repeat = [](std::string_view unit) {
    std::string text;
    while (text.size() < kSize) text += unit;
    return text;
  };
  Random random(1);
  std::string letters;
  while (letters.size() < kSize) letters.push_back(static_cast<char>('a' + Below(random, 26)));
  for (const std::string& text : {repeat("a"), repeat(" "), repeat("\n"), repeat("é"), repeat("字"),
                                  repeat("😀"), repeat("=-"), repeat("a "), repeat(" \n"),
                                  repeat("'"), repeat("0"), repeat(" ") + repeat("a"), letters}) {
    const auto ids = Gpt2().Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_TRUE(Gpt2().Decode(*ids).value() == text) << text.substr(0, 8);
  }
}

TEST(Tokenizer, NamesTheByteThatIsNotUtf8) {
  const auto status = [](std::string_view text) { return Gpt2().Encode(text).status(); };
  EXPECT_EQ(status("ab\xFF").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status("ab\xFF").message(), "text is not valid UTF-8: byte 0xff at offset 2");
  EXPECT_EQ(status("é\xE2\x82").message(), "text is not valid UTF-8: byte 0xe2 at offset 2");
  EXPECT_EQ(status("\xED\xA0\x80").message(), "text is not valid UTF-8: byte 0xed at offset 0");
}

TEST(Tokenizer, NamesTheByteThatTheVocabularyLacks) {
  const auto tokenizer =
      Tokenizer::Create(
          ParseTokenizerJson(TokenizerJson({{"a", 0}, {"b", 1}}, json::array()).dump()).value())
          .value();
  EXPECT_THAT(tokenizer->Encode("ab").value(), ElementsAre(0, 1));
  EXPECT_EQ(tokenizer->Encode("abc").status().message(),
            "the vocabulary has no token for byte 0x63, at offset 2 of the text");
  EXPECT_EQ(tokenizer->EndOfText(), std::nullopt);
}

TEST(Tokenizer, NamesAnIdOutsideTheVocabulary) {
  EXPECT_EQ(Gpt2().Decode({0, 50257}).status().message(),
            "token id 50257 at index 1 is outside the vocabulary of 50257");
  EXPECT_EQ(Gpt2().Decode({-1}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Gpt2().Piece(-1), "");
  EXPECT_EQ(Gpt2().Piece(50257), "");
  EXPECT_FALSE(Gpt2().IsSpecial(50257));
  EXPECT_FALSE(Gpt2().Contains(-1));
}

TEST(Tokenizer, IgnoreMergesPrefersWholePieces) {
  // The merges lead from "abc" to "a" "bc".
  json file = TokenizerJson({{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}},
                            {"b c", "ab c"});
  const auto encode = [&file](const char* text) {
    return Tokenizer::Create(ParseTokenizerJson(file.dump()).value()).value()->Encode(text).value();
  };
  EXPECT_THAT(encode("abc"), ElementsAre(0, 4));
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(encode("abc"), ElementsAre(5));
  EXPECT_THAT(encode("abcb"), ElementsAre(0, 4, 1));
}

TEST(Tokenizer, ServesManyThreadsAtOnce) {
  Random random(1);
  const std::string text = RandomText(random, 2000);
  const auto ids = Gpt2().Encode(text).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        EXPECT_EQ(Gpt2().Encode(text).value(), ids);
        EXPECT_EQ(Gpt2().Decode(ids).value(), text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace deltaserve
