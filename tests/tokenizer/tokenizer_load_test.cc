// Which files of a folder Tokenizer::Load reads, and what it says of those it cannot.
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/tokenizer/tokenizer.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Each form with a letter of its own.
std::string OneTokenJson() { return TokenizerJson({{"j", 0}}, json::array()).dump(); }
constexpr char kVocab[] = R"({"v": 0})";
constexpr char kRanks[] = "dA== 0\n";  // "t"

absl::Status LoadStatus(const TempDir& dir) { return Tokenizer::Load(dir.path()).status(); }

std::string LoadedPiece(const TempDir& dir) {
  return std::string(Tokenizer::Load(dir.path()).value()->Piece(0));
}

TEST(TokenizerLoad, PrefersTokenizerJsonThenThePairThenTiktoken) {
  EXPECT_EQ(LoadedPiece(TempDir({{"tokenizer.json", OneTokenJson()},
                                 {"vocab.json", kVocab},
                                 {"merges.txt", ""},
                                 {"x.tiktoken", kRanks}})),
            "j");
  EXPECT_EQ(
      LoadedPiece(TempDir({{"vocab.json", kVocab}, {"merges.txt", ""}, {"x.tiktoken", kRanks}})),
      "v");
  EXPECT_EQ(LoadedPiece(TempDir({{"x.tiktoken", kRanks}, {"config.json", "{}"}})), "t");
}

TEST(TokenizerLoad, NotFoundMeansThatThereIsNone) {
  const TempDir dir({{"config.json", "{}"}});
  EXPECT_EQ(LoadStatus(dir).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadStatus(dir).message()), HasSubstr(dir.path().string()));
}

TEST(TokenizerLoad, AFolderThatIsNotThereIsAnotherError) {
  EXPECT_EQ(Tokenizer::Load("/nowhere/at/all").status().code(), absl::StatusCode::kInvalidArgument);
}

void ExpectRefused(const TempDir& dir, const std::string& file, const std::string& reason) {
  const absl::Status status = LoadStatus(dir);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(file), HasSubstr(reason)));
}

TEST(TokenizerLoad, NamesTheFileAtFault) {
  ExpectRefused(TempDir({{"tokenizer.json", "{"}, {"x.tiktoken", kRanks}}),
                "/tokenizer.json: ", "malformed JSON");
  ExpectRefused(TempDir({{"vocab.json", "{"}, {"merges.txt", ""}}),
                "/vocab.json: ", "malformed JSON");
  ExpectRefused(TempDir({{"vocab.json", kVocab}, {"merges.txt", "#version: 0.2\nx y\n"}}),
                "/merges.txt: ", "line 2");
  ExpectRefused(TempDir({{"x.tiktoken", "?"}}), "/x.tiktoken: ", "line 1");
}

TEST(TokenizerLoad, NamesTheMissingHalfOfAPair) {
  ExpectRefused(TempDir({{"vocab.json", kVocab}}), "/vocab.json: ", "needs merges.txt");
  ExpectRefused(TempDir({{"merges.txt", ""}}), "/merges.txt: ", "needs vocab.json");
}

TEST(TokenizerLoad, RefusesToChooseBetweenRanksFiles) {
  ExpectRefused(TempDir({{"a.tiktoken", kRanks}, {"b.tiktoken", kRanks}}), "several",
                "a.tiktoken and b.tiktoken");
}

TEST(TokenizerLoad, RefusesAFolderInPlaceOfAFile) {
  const TempDir dir({});
  std::filesystem::create_directory(dir.path() / "tokenizer.json");
  ExpectRefused(dir, "/tokenizer.json: ", "cannot be read");
}

TEST(TokenizerLoad, RefusesEmptyFiles) {
  ExpectRefused(TempDir({{"tokenizer.json", ""}}), "/tokenizer.json: ", "malformed JSON");
  ExpectRefused(TempDir({{"x.tiktoken", ""}}), "/x.tiktoken: ", "the vocabulary is empty");
}

}  // namespace
}  // namespace deltaserve
