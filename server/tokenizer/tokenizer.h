#ifndef DELTASERVE_SERVER_TOKENIZER_TOKENIZER_H_
#define DELTASERVE_SERVER_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/tokenizer/byte_pair_encoder.h"
#include "server/tokenizer/splitter.h"
#include "server/tokenizer/vocabulary.h"

namespace deltaserve {

// Byte-level BPE with GPT-2's split: text to token ids and back. Immutable; any number of threads
// may use one at once.
class Tokenizer {
 public:
  // Reads the folder's tokenizer.json, else its vocab.json and merges.txt, else its one *.tiktoken
  // file. NOT_FOUND means that it has none of these, and nothing else; a file that is malformed or
  // asks for another kind of tokenizer is INVALID_ARGUMENT, naming the file and the culprit in it.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& model_dir);

  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(Vocabulary vocabulary);

  // Not movable: the table of pieces points into the vocabulary.
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Special tokens spelled out in `text` are ordinary text. Takes O(n log n) time whatever the
  // text. INVALID_ARGUMENT names the first byte that is not UTF-8, or that the vocabulary lacks.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const;

  // The tokens' bytes one after the other, which need not be UTF-8; special tokens as their text.
  // INVALID_ARGUMENT names an id outside the vocabulary.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const;

  // The bytes of one token; empty outside the vocabulary. Valid as long as the tokenizer.
  std::string_view Piece(int32_t id) const;

  bool IsSpecial(int32_t id) const { return Contains(id) && vocabulary_.tokens[id].special; }

  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }

  // Ids are those below this.
  int32_t vocab_size() const { return static_cast<int32_t>(vocabulary_.tokens.size()); }

  // The id of "<|endoftext|>".
  std::optional<int32_t> EndOfText() const { return end_of_text_; }

 private:
  Tokenizer(Vocabulary vocabulary, Splitter splitter);

  absl::Status CheckEncodable(std::string_view text) const;

  const Vocabulary vocabulary_;
  const Splitter splitter_;
  const BytePairEncoder encoder_;
  // Pieces known to become this one token, so that most words cost one look-up.
  TokenIds whole_pieces_;
  std::optional<int32_t> end_of_text_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_TOKENIZER_H_
