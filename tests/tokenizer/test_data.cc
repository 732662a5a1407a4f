#include "tests/tokenizer/test_data.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace deltaserve {

namespace fs = std::filesystem;
using nlohmann::json;

fs::path Gpt2Dir() { return fs::path(DELTASERVE_SOURCE_DIR) / "tests/tokenizer/gpt2"; }
fs::path TrainedDir() { return fs::path(DELTASERVE_SOURCE_DIR) / "tests/tokenizer/trained"; }

std::string ReadTestFile(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + file.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

json TokenizerJson(json vocab, json merges) {
  return {{"version", "1.0"},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}}}};
}

std::string Gpt2TokenizerJson(bool merges_as_pairs) {
  json merges = json::array();
  std::ifstream lines(Gpt2Dir() / "merges.txt");
  std::string line;
  std::getline(lines, line);  // #version
  while (std::getline(lines, line)) {
    const size_t space = line.find(' ');
    if (merges_as_pairs) {
      merges.push_back({line.substr(0, space), line.substr(space + 1)});
    } else {
      merges.push_back(line);
    }
  }
  json file = TokenizerJson(json::parse(ReadTestFile(Gpt2Dir() / "vocab.json")), merges);
  file["added_tokens"].push_back(
      {{"id", 50256}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", true}});
  return file.dump();
}

const Tokenizer& Gpt2() {
  static const Tokenizer* const tokenizer = [] {
    const TempDir dir({{"gpt2.tiktoken", ReadTestFile(Gpt2Dir() / "gpt2.tiktoken")}});
    return Tokenizer::Load(dir.path()).value().release();
  }();
  return *tokenizer;
}

TempDir::TempDir(std::initializer_list<std::pair<std::string, std::string>> files) {
  std::string name = (fs::temp_directory_path() / "tokenizer_test.XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot create " + name);
  path_ = name;
  for (const auto& [file, content] : files) {
    std::ofstream(path_ / file, std::ios::binary) << content;
  }
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string Utf8(char32_t scalar) {
  const auto tail = [scalar](int shift) {
    return static_cast<char>(0x80 | ((scalar >> shift) & 0x3F));
  };
  const auto lead = [scalar](int mark, int shift) {
    return static_cast<char>(mark | (scalar >> shift));
  };
  if (scalar < 0x80) return {static_cast<char>(scalar)};
  if (scalar < 0x800) return {lead(0xC0, 6), tail(0)};
  if (scalar < 0x10000) return {lead(0xE0, 12), tail(6), tail(0)};
  return {lead(0xF0, 18), tail(12), tail(6), tail(0)};
}

size_t Below(Random& random, size_t end) { return random() % end; }

std::string RandomBytes(Random& random, size_t size) {
  constexpr std::string_view kTelling =
      "a\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xDF\xE0\xE1\xED\xF0\xF4\xF5";
  std::string bytes;
  while (bytes.size() < size) {
    bytes.push_back(Below(random, 4) == 0 ? static_cast<char>(random())
                                          : kTelling[Below(random, kTelling.size())]);
  }
  return bytes;
}

std::string RandomText(Random& random, size_t characters) {
  struct Range {
    char32_t first;
    char32_t last;
  };
  constexpr Range kRanges[] = {
      {'a', 'z'},       {'a', 'z'},         {' ', ' '},         {'0', '9'},
      {0x00, 0x7F},     {0x09, 0x0D},       {0x80, 0x24F},      {0x300, 0x36F},
      {0x2000, 0x206F}, {0x3000, 0x30FF},   {0x4E00, 0x9FFF},   {0x0, 0xD7FF},
      {0xE000, 0xFFFF}, {0x1F300, 0x1FAFF}, {0x1F3FB, 0x1F3FF}, {0x10000, 0x10FFFF},
  };
  std::string text;
  for (size_t i = 0; i < characters; ++i) {
    const Range range = kRanges[Below(random, std::size(kRanges))];
    text += Utf8(range.first + Below(random, range.last - range.first + 1));
  }
  return text;
}

}  // namespace deltaserve
