#include "server/tokenizer/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/tokenizer/tiktoken_file.h"
#include "server/tokenizer/tokenizer_json.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

absl::Status At(const fs::path& file, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", status.message()));
}

absl::StatusOr<std::string> ReadFile(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream content;
  // Streaming an empty file sets failbit, hence the test of the source alone.
  if (stream && stream.peek() != std::ifstream::traits_type::eof()) content << stream.rdbuf();
  if (!stream.is_open() || stream.bad() || fs::is_directory(file)) {
    return absl::InvalidArgumentError("cannot be read");
  }
  return std::move(content).str();
}

// Reads `file` and applies `parse` to its content; errors name the file.
template <typename Parse>
auto ParseFile(const fs::path& file, Parse parse) -> decltype(parse(std::string_view())) {
  const absl::StatusOr<std::string> content = ReadFile(file);
  if (!content.ok()) return At(file, content.status());
  auto parsed = parse(*content);
  if (!parsed.ok()) return At(file, parsed.status());
  return parsed;
}

absl::StatusOr<Vocabulary> LoadPair(const fs::path& vocab_file, const fs::path& merges_file) {
  absl::StatusOr<Vocabulary> vocabulary = ParseFile(vocab_file, ParseVocabJson);
  if (!vocabulary.ok()) return vocabulary.status();
  auto merges = ParseFile(
      merges_file, [&](std::string_view content) { return ParseMerges(content, *vocabulary); });
  if (!merges.ok()) return merges.status();
  vocabulary->merges = *std::move(merges);
  return vocabulary;
}

absl::StatusOr<std::vector<fs::path>> TiktokenFiles(const fs::path& model_dir) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(model_dir, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".tiktoken") files.push_back(entry->path());
  }
  if (error) return At(model_dir, absl::InvalidArgumentError(error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<Vocabulary> LoadVocabulary(const fs::path& model_dir) {
  const auto exists = [](const fs::path& file) {
    std::error_code ignored;
    return fs::exists(file, ignored);
  };
  if (const fs::path file = model_dir / "tokenizer.json"; exists(file)) {
    return ParseFile(file, ParseTokenizerJson);
  }
  const fs::path vocab = model_dir / "vocab.json";
  const fs::path merges = model_dir / "merges.txt";
  if (exists(vocab) != exists(merges)) {
    const auto& [present, absent] =
        exists(vocab) ? std::tie(vocab, merges) : std::tie(merges, vocab);
    return At(present, absl::InvalidArgumentError(
                           absl::StrCat("needs ", absent.filename().string(), " beside it")));
  }
  if (exists(vocab)) return LoadPair(vocab, merges);

  const absl::StatusOr<std::vector<fs::path>> ranks = TiktokenFiles(model_dir);
  if (!ranks.ok()) return ranks.status();
  if (ranks->size() > 1) {
    return At(model_dir, absl::InvalidArgumentError(
                             absl::StrCat("several tokenizers: ", (*ranks)[0].filename().string(),
                                          " and ", (*ranks)[1].filename().string())));
  }
  if (ranks->size() == 1) return ParseFile(ranks->front(), ParseTiktoken);
  return absl::NotFoundError(absl::StrCat(
      model_dir.string(), ": no tokenizer.json, vocab.json with merges.txt, or *.tiktoken"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const fs::path& model_dir) {
  absl::StatusOr<Vocabulary> vocabulary = LoadVocabulary(model_dir);
  if (!vocabulary.ok()) return vocabulary.status();
  return Create(*std::move(vocabulary));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  absl::StatusOr<Splitter> splitter = Splitter::Create();
  if (!splitter.ok()) return splitter.status();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(vocabulary), *std::move(splitter)));
}

Tokenizer::Tokenizer(Vocabulary vocabulary, Splitter splitter)
    : vocabulary_(std::move(vocabulary)),
      splitter_(std::move(splitter)),
      encoder_(vocabulary_),
      whole_pieces_(OrdinaryTokenIds(vocabulary_)) {
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (Piece(id) == kEndOfText) end_of_text_ = id;
  }
  if (vocabulary_.prefer_whole_pieces) return;
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  absl::erase_if(whole_pieces_, [&](const auto& entry) {
    const auto& [piece, id] = entry;
    const bool known =
        std::all_of(piece.begin(), piece.end(), [&](char byte) { return encoder_.Knows(byte); });
    if (!known) return true;
    ids.clear();
    encoder_.Encode(piece, workspace, ids);
    return ids.size() != 1 || ids[0] != id;
  });
}

absl::Status Tokenizer::CheckEncodable(std::string_view text) const {
  if (text.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a text of ", text.size(), " bytes is too long"));
  }
  if (const size_t valid = ValidUtf8Prefix(text); valid < text.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("text is not valid UTF-8: byte 0x%02x at offset %d",
                        static_cast<uint8_t>(text[valid]), valid));
  }
  const auto unknown =
      std::find_if(text.begin(), text.end(), [this](char byte) { return !encoder_.Knows(byte); });
  if (unknown != text.end()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the vocabulary has no token for byte 0x%02x, at offset %d of the text",
                        static_cast<uint8_t>(*unknown), unknown - text.begin()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text) const {
  if (absl::Status status = CheckEncodable(text); !status.ok()) return status;
  std::vector<int32_t> ids;
  BytePairEncoder::Workspace workspace;
  absl::Status status = splitter_.Split(text, [&](std::string_view piece) {
    if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
      ids.push_back(whole->second);
    } else {
      encoder_.Encode(piece, workspace, ids);
    }
  });
  if (!status.ok()) return status;
  return ids;
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int32_t> ids) const {
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!Contains(ids[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token id ", ids[i], " at index ", i, " is outside the vocabulary of ", vocab_size()));
    }
    bytes += vocabulary_.tokens[ids[i]].bytes;
  }
  return bytes;
}

std::string_view Tokenizer::Piece(int32_t id) const {
  return Contains(id) ? std::string_view(vocabulary_.tokens[id].bytes) : std::string_view();
}

}  // namespace deltaserve
