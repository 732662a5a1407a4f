// What the tokenizer's tests share: fixtures, folders to load from and random text.
#ifndef DELTASERVE_TESTS_TOKENIZER_TEST_DATA_H_
#define DELTASERVE_TESTS_TOKENIZER_TEST_DATA_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {

// tests/tokenizer/gpt2 and tests/tokenizer/trained.
std::filesystem::path Gpt2Dir();
std::filesystem::path TrainedDir();

std::string ReadTestFile(const std::filesystem::path& file);

// The content of a tokenizer.json with this vocabulary, {token: id}, and these merges.
nlohmann::json TokenizerJson(nlohmann::json vocab, nlohmann::json merges);

// GPT-2's pair of files as one tokenizer.json; merges as pairs or as strings.
std::string Gpt2TokenizerJson(bool merges_as_pairs);

// GPT-2's tokenizer, loaded once.
const Tokenizer& Gpt2();

// A folder with these files (name, content), gone with the object.
class TempDir {
 public:
  explicit TempDir(std::initializer_list<std::pair<std::string, std::string>> files);
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// UTF-8 of one Unicode scalar value.
std::string Utf8(char32_t scalar);

using Random = std::mt19937_64;

// Below `end`, which is positive.
size_t Below(Random& random, size_t end);

// Any bytes, mostly such as begin or continue UTF-8 sequences.
std::string RandomBytes(Random& random, size_t size);

// Valid UTF-8: words, digits, white space, combining marks, emoji and anything of all planes.
std::string RandomText(Random& random, size_t characters);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_TOKENIZER_TEST_DATA_H_
