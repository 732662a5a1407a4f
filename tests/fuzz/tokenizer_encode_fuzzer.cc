// decode(encode(x)) = x for valid UTF-8, an error for anything else; and streaming gives x too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "server/tokenizer/streaming_decoder.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/utf8.h"

using namespace deltaserve;

namespace {

// The bytes, and merges that take many a path: pairs of letters, spaces and UTF-8's leads.
Vocabulary FuzzVocabulary() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), false});
  }
  for (const auto& [left, right] : {std::pair(' ', ' '),
                                    {' ', 'a'},
                                    {'a', 'b'},
                                    {'b', 'a'},
                                    {'a', 'a'},
                                    {'\xE2', '\x82'},
                                    {'\x82', '\xAC'}}) {
    const auto result = static_cast<int32_t>(vocabulary.tokens.size());
    vocabulary.tokens.push_back({{left, right}, false});
    vocabulary.merges.push_back({static_cast<uint8_t>(left), static_cast<uint8_t>(right), result,
                                 /*rank=*/result - 256});
  }
  return vocabulary;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer* const tokenizer = Tokenizer::Create(FuzzVocabulary()).value().release();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ids = tokenizer->Encode(text);
  if (ids.ok() != (ValidUtf8Prefix(text) == size)) std::abort();
  if (!ids.ok()) return 0;
  if (tokenizer->Decode(*ids).value() != text) std::abort();
  StreamingDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : *ids) streamed += decoder.Push(id).value();
  if (streamed + decoder.Flush() != text) std::abort();
  return 0;
}
