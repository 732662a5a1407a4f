// Every parser of tokenizer files: any bytes give a vocabulary that can be used, or an error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "server/tokenizer/tiktoken_file.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/tokenizer_json.h"

using namespace deltaserve;

namespace {

void Use(absl::StatusOr<Vocabulary> vocabulary) {
  if (!vocabulary.ok()) return;
  const auto tokenizer = Tokenizer::Create(*std::move(vocabulary)).value();
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->Piece(id).empty()) std::abort();
    (void)tokenizer->Encode(tokenizer->Piece(id));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Use(ParseTokenizerJson(text));
  Use(ParseTiktoken(text));
  // The pair of files in one input, a NUL between them.
  const size_t end = std::min(text.find('\0'), size);
  absl::StatusOr<Vocabulary> vocabulary = ParseVocabJson(text.substr(0, end));
  if (!vocabulary.ok()) return 0;
  auto merges = ParseMerges(text.substr(std::min(end + 1, size)), *vocabulary);
  if (merges.ok()) vocabulary->merges = *std::move(merges);
  Use(std::move(vocabulary));
  return 0;
}
