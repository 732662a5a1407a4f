#include "server/tokenizer/tokenizer_json.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json SmallFile() {
  return TokenizerJson({{"a", 0}, {"b", 1}, {"ab", 2}, {"<|endoftext|>", 3}}, {"a b"});
}

void ExpectRefused(const absl::Status& status, const char* error) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << error;
  EXPECT_THAT(std::string(status.message()), HasSubstr(error));
}

TEST(ParseTokenizerJson, ReadsTokensAndMerges) {
  const Vocabulary vocabulary = ParseTokenizerJson(SmallFile().dump()).value();
  ASSERT_EQ(vocabulary.tokens.size(), 4u);
  EXPECT_EQ(vocabulary.tokens[2].bytes, "ab");
  EXPECT_FALSE(vocabulary.tokens[2].special);
  EXPECT_TRUE(vocabulary.tokens[3].special);
  ASSERT_EQ(vocabulary.merges.size(), 1u);
  EXPECT_EQ(vocabulary.merges[0].left, 0);
  EXPECT_EQ(vocabulary.merges[0].right, 1);
  EXPECT_EQ(vocabulary.merges[0].result, 2);
  EXPECT_EQ(vocabulary.merges[0].rank, 0);
}

TEST(ParseTokenizerJson, SpellsTokensInTheByteAlphabet) {
  const json file = TokenizerJson({{"Ġ", 0}, {"Ċ", 1}, {"Ń", 2}, {"ÿ", 3}}, json::array());
  const Vocabulary vocabulary = ParseTokenizerJson(file.dump()).value();
  EXPECT_EQ(vocabulary.tokens[0].bytes, " ");
  EXPECT_EQ(vocabulary.tokens[1].bytes, "\n");
  EXPECT_EQ(vocabulary.tokens[2].bytes, "\xAD");
  EXPECT_EQ(vocabulary.tokens[3].bytes, "\xFF");
}

TEST(ParseTokenizerJson, AddedTokensAreSpelledAsText) {
  json file = SmallFile();
  file["added_tokens"] = {{{"id", 4}, {"content", "<a token> é"}, {"special", true}},
                          {{"id", 3}, {"content", "<|endoftext|>"}, {"special", true}}};
  const Vocabulary vocabulary = ParseTokenizerJson(file.dump()).value();
  ASSERT_EQ(vocabulary.tokens.size(), 5u);
  EXPECT_EQ(vocabulary.tokens[4].bytes, "<a token> é");
  EXPECT_TRUE(vocabulary.tokens[4].special);
}

TEST(ParseTokenizerJson, TakesSettingsWithoutEffect) {
  json file = SmallFile();
  file["truncation"] = nullptr;
  file["padding"] = nullptr;
  file["pre_tokenizer"].update({{"trim_offsets", true}, {"use_regex", true}});
  file["post_processor"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  file["decoder"].update({{"add_prefix_space", true}, {"trim_offsets", false}});
  file["model"].update({{"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", ""},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"ignore_merges", false}});
  EXPECT_TRUE(ParseTokenizerJson(file.dump()).ok());
  file["model"].erase("type");  // as in GPT-2's own file
  EXPECT_TRUE(ParseTokenizerJson(file.dump()).ok());
}

TEST(ParseTokenizerJson, NamesTheCulprit) {
  struct Case {
    std::function<void(json&)> edit;
    const char* error;
  };
  const Case cases[] = {
      // The pipeline.
      {[](json& f) { f = json::array(); }, "the file is not a JSON object"},
      {[](json& f) { f["extra"] = 1; }, "\"extra\" is not a known key"},
      {[](json& f) { f["version"] = "2.0"; }, "version is"},
      {[](json& f) {
         f["truncation"] = {{"max_length", 5}};
       },
       "truncation is"},
      {[](json& f) { f["padding"] = true; }, "padding is"},
      {[](json& f) {
         f["normalizer"] = {{"type", "NFC"}};
       },
       "normalizer is"},
      {[](json& f) { f.erase("pre_tokenizer"); }, "pre_tokenizer is missing"},
      {[](json& f) { f["pre_tokenizer"] = 5; }, "pre_tokenizer is not of the type object"},
      {[](json& f) {
         f["pre_tokenizer"] = {{"type", "Whitespace"}};
       },
       "pre_tokenizer.type is"},
      {[](json& f) { f["pre_tokenizer"].erase("type"); }, "pre_tokenizer.type is missing"},
      {[](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; },
       "pre_tokenizer.add_prefix_space is \"true\"; only false is supported"},
      {[](json& f) { f["pre_tokenizer"].erase("add_prefix_space"); },
       "pre_tokenizer.add_prefix_space is missing"},
      {[](json& f) { f["pre_tokenizer"]["use_regex"] = false; }, "pre_tokenizer.use_regex is"},
      {[](json& f) { f["pre_tokenizer"]["trim_offsets"] = 1; },
       "pre_tokenizer.trim_offsets is not a boolean"},
      {[](json& f) { f["pre_tokenizer"]["behavior"] = 1; },
       "pre_tokenizer.\"behavior\" is not a known key"},
      {[](json& f) {
         f["post_processor"] = {{"type", "TemplateProcessing"}};
       },
       "post_processor.type is"},
      {[](json& f) { f.erase("decoder"); }, "decoder is missing"},
      {[](json& f) { f["decoder"]["type"] = "WordPiece"; }, "decoder.type is"},
      // Added tokens.
      {[](json& f) { f["added_tokens"] = 1; }, "added_tokens is not an array"},
      {[](json& f) { f["added_tokens"] = {"x"}; }, "added_tokens[0] is not a JSON object"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"special", true}}};
       },
       "added_tokens[0].content is missing"},
      {[](json& f) {
         f["added_tokens"] = {{{"content", "x"}, {"special", true}}};
       },
       "added_tokens[0].id is missing"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"content", "x"}, {"special", false}}};
       },
       "added_tokens[0].special is"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"content", "x"}}};
       },
       "added_tokens[0].special is missing"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"content", 7}, {"special", true}}};
       },
       "added_tokens[0].content is not of the type string"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", "4"}, {"content", "x"}, {"special", true}}};
       },
       "added_tokens[0]: the id"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"content", "x"}, {"special", true}},
                              {{"id", 5}, {"content", "x"}, {"special", true}}};
       },
       "added_tokens[1] repeats \"x\""},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 1}, {"content", "a"}, {"special", true}}};
       },
       "token \"a\" has the id 0, but 1 in added_tokens"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 1}, {"content", "x"}, {"special", true}}};
       },
       "share the id 1"},
      {[](json& f) {
         f["added_tokens"] = {{{"id", 4}, {"content", ""}, {"special", true}}};
       },
       "the token with id 4 is empty"},
      // The model.
      {[](json& f) { f.erase("model"); }, "model is missing"},
      {[](json& f) { f["model"] = "BPE"; }, "model is not of the type object"},
      {[](json& f) { f["model"]["type"] = "Unigram"; }, "model.type is"},
      {[](json& f) { f["model"]["dropout"] = 0.1; }, "model.dropout is"},
      {[](json& f) { f["model"]["unk_token"] = "<unk>"; }, "model.unk_token is"},
      {[](json& f) { f["model"]["continuing_subword_prefix"] = "##"; },
       "model.continuing_subword_prefix is"},
      {[](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }, "model.end_of_word_suffix is"},
      {[](json& f) { f["model"]["byte_fallback"] = true; }, "model.byte_fallback is"},
      {[](json& f) { f["model"]["fuse_unk"] = 0; }, "model.fuse_unk is not a boolean"},
      {[](json& f) { f["model"]["ignore_merges"] = "no"; }, "model.ignore_merges is not a boolean"},
      {[](json& f) { f["model"]["max_input_chars"] = 1; },
       "model.\"max_input_chars\" is not a known key"},
      // The vocabulary.
      {[](json& f) { f["model"].erase("vocab"); }, "model.vocab is missing"},
      {[](json& f) { f["model"]["vocab"] = {"a"}; }, "model.vocab is not of the type object"},
      {[](json& f) { f["model"]["vocab"] = json::object(); }, "the vocabulary is empty"},
      {[](json& f) { f["model"]["vocab"]["a"] = "0"; },
       "model.vocab: token \"a\": the id \"\\\"0\\\"\" is not an integer in range"},
      {[](json& f) { f["model"]["vocab"]["a"] = 0.0; }, "model.vocab: token \"a\": the id"},
      {[](json& f) { f["model"]["vocab"]["a"] = nullptr; }, "model.vocab: token \"a\": the id"},
      {[](json& f) { f["model"]["vocab"]["a"] = ~uint64_t{0}; },
       "model.vocab: token \"a\": the id \"18446744073709551615\" is not an integer in range"},
      {[](json& f) { f["model"]["vocab"]["a"] = -1; }, "token \"a\" has the negative id -1"},
      {[](json& f) { f["model"]["vocab"]["b"] = 0; }, "tokens \"a\" and \"b\" share the id 0"},
      {[](json& f) { f["model"]["vocab"]["a"] = 4; },
       "no token has the id 0; the next is \"b\" with 1"},
      {[](json& f) { f["model"]["vocab"]["c"] = 4000000000000; }, "no token has the id 4"},
      {[](json& f) { f["model"]["vocab"][""] = 4; }, "the token with id 4 is empty"},
      {[](json& f) { f["model"]["vocab"]["a b"] = 4; },
       "model.vocab: \"a b\" is not spelled in GPT-2's byte alphabet: character \" \" at byte 1"},
      {[](json& f) { f["model"]["vocab"]["字"] = 4; }, "model.vocab: \"字\" is not spelled"},
      // The merges.
      {[](json& f) { f["model"].erase("merges"); }, "model.merges is missing"},
      {[](json& f) { f["model"]["merges"] = "a b"; }, "model.merges is not of the type array"},
      {[](json& f) { f["model"]["merges"] = {7}; }, "model.merges[0]: neither"},
      {[](json& f) {
         f["model"]["merges"] = {"a b", {"a"}};
       },
       "model.merges[1]: neither"},
      {[](json& f) {
         f["model"]["merges"] = {"a b", {"a", 1}};
       },
       "model.merges[1]: neither"},
      {[](json& f) { f["model"]["merges"] = {"ab"}; }, "model.merges[0]: \"ab\" is not two tokens"},
      {[](json& f) { f["model"]["merges"] = {"a  b"}; }, "model.merges[0]: \"a  b\""},
      {[](json& f) { f["model"]["merges"] = {"a "}; }, "no ordinary token is \"\""},
      {[](json& f) { f["model"]["merges"] = {"a x"}; },
       "model.merges[0]: merging \"a\" and \"x\": no ordinary token is \"x\""},
      {[](json& f) { f["model"]["merges"] = {"b a"}; }, "no ordinary token is \"ba\""},
      {[](json& f) { f["model"]["merges"] = {"a 字"}; }, "model.merges[0]: \"字\" is not spelled"},
      {[](json& f) {
         f["model"]["merges"] = {"a b", "a b"};
       },
       "model.merges[1]: merging \"a\" and \"b\" repeats the merge of rank 0"},
      {[](json& f) {
         f["model"]["vocab"]["<|"] = 4;
         f["model"]["vocab"]["endoftext|>"] = 5;
         f["model"]["merges"] = {"<| endoftext|>"};
       },
       "no ordinary token is \"<|endoftext|>\""},
  };
  for (const Case& c : cases) {
    json file = SmallFile();
    c.edit(file);
    ExpectRefused(ParseTokenizerJson(file.dump()).status(), c.error);
  }
}

TEST(ParseTokenizerJson, NamesThePlaceOfMalformedJson) {
  ExpectRefused(ParseTokenizerJson("").status(), "malformed JSON: parse error at line 1, column 1");
  ExpectRefused(ParseTokenizerJson("{\"a\":\n1,}").status(),
                "malformed JSON: parse error at line 2");
  ExpectRefused(ParseTokenizerJson("{\"a\": \"\xFF\"}").status(), "malformed JSON: ");
  ExpectRefused(ParseTokenizerJson("{\"a\": 1e999}").status(), "malformed JSON: ");
  ExpectRefused(ParseTokenizerJson(R"({"model": {"vocab": {"a": 0, "a": 0}}})").status(),
                "malformed JSON: an object has the key \"a\" twice");
  ExpectRefused(ParseTokenizerJson(std::string(1 << 20, '[')).status(),
                "malformed JSON: nested deeper than 16");
  std::string nested = "{\"normalizer\": ";
  nested += std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  ExpectRefused(ParseTokenizerJson(nested).status(), "malformed JSON: nested deeper than 16");
}

TEST(ParseTokenizerJson, RefusesEveryTruncation) {
  const std::string file = SmallFile().dump();
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseTokenizerJson(file.substr(0, size)).ok()) << size;
  }
}

TEST(ParseVocabJson, NamesTheCulprit) {
  ExpectRefused(ParseVocabJson("[]").status(), "the file is not a JSON object");
  ExpectRefused(ParseVocabJson("{}").status(), "the vocabulary is empty");
  ExpectRefused(ParseVocabJson(R"({"a": 0, "b": 0})").status(), "share the id 0");
  ExpectRefused(ParseVocabJson(R"({"a": 0, "b": 2})").status(), "no token has the id 1");
  ExpectRefused(ParseVocabJson(R"({"a": []})").status(), "token \"a\": the id");
  ExpectRefused(ParseVocabJson(R"({"a": 0, "a": 1})").status(), "the key \"a\" twice");
}

TEST(ParseMerges, ReadsRanksInTheOrderOfTheLines) {
  const Vocabulary vocabulary =
      ParseVocabJson(R"({"#version:": 0, "x": 1, "#version:x": 2, "xx": 3})").value();
  const auto with_version = ParseMerges("#version: 0.2\nx x\r\n#version: x", vocabulary).value();
  ASSERT_EQ(with_version.size(), 2u);
  EXPECT_EQ(with_version[0].result, 3);
  EXPECT_EQ(with_version[1].result, 2);  // beyond the first line it is a merge
  EXPECT_EQ(with_version[1].rank, 1);
  EXPECT_EQ(ParseMerges("x x\n", vocabulary).value().size(), 1u);
  EXPECT_EQ(ParseMerges("", vocabulary).value().size(), 0u);
}

TEST(ParseMerges, NamesTheCulprit) {
  const Vocabulary vocabulary = ParseVocabJson(R"({"a": 0, "b": 1, "ab": 2})").value();
  const auto status = [&](const char* text) { return ParseMerges(text, vocabulary).status(); };
  ExpectRefused(status("#version: 0.2\na b\n\n"), "line 3: \"\" is not two tokens");
  ExpectRefused(status("a b b\n"), "line 1: \"a b b\" is not two tokens");
  ExpectRefused(status("a\tb\n"), "line 1: \"a\\tb\" is not two tokens");
  ExpectRefused(status("a b\na c\n"),
                "line 2: merging \"a\" and \"c\": no ordinary token is \"c\"");
  ExpectRefused(status("a b\na b\n"), "line 2: merging \"a\" and \"b\" repeats");
  ExpectRefused(status("a \xC4\n"), "line 1: \"\\xc4\" is not UTF-8 at byte 0");
}

}  // namespace
}  // namespace deltaserve
