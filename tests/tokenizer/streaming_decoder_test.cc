#include "server/tokenizer/streaming_decoder.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/tokenizer/utf8.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

// Of all characters of several bytes: what comes before the last byte, and every proper prefix.
struct Sequences {
  std::set<std::string, std::less<>> stems;
  std::set<std::string, std::less<>> prefixes;
};

const Sequences& AllSequences() {
  static const Sequences* const sequences = [] {
    auto* all = new Sequences;
    for (char32_t scalar = 0x80; scalar <= 0x10FFFF;
         scalar += 64) {  // the last byte takes 64 values
      if (scalar >= 0xD800 && scalar <= 0xDFFF) continue;
      const std::string bytes = Utf8(scalar);
      all->stems.insert(bytes.substr(0, bytes.size() - 1));
      for (size_t size = 1; size < bytes.size(); ++size)
        all->prefixes.insert(bytes.substr(0, size));
    }
    return all;
  }();
  return *sequences;
}

bool IsCharacter(std::string_view bytes) {
  if (bytes.size() == 1) return static_cast<uint8_t>(bytes[0]) < 0x80;
  return (bytes.back() & 0xC0) == 0x80 &&
         AllSequences().stems.contains(bytes.substr(0, bytes.size() - 1));
}

// Python's bytes.decode("utf-8", errors="replace"), from the list of all characters.
std::string LossyByDefinition(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    size_t size = std::min<size_t>(bytes.size(), 4);
    while (size > 0 && !IsCharacter(bytes.substr(0, size))) --size;
    if (size > 0) {
      text += bytes.substr(0, size);
    } else {
      size = std::min<size_t>(bytes.size(), 3);
      while (size > 1 && !AllSequences().prefixes.contains(bytes.substr(0, size))) --size;
      text += kReplacementCharacter;
    }
    bytes.remove_prefix(size);
  }
  return text;
}

// Tokens: the 256 bytes, then `pieces`.
std::unique_ptr<Tokenizer> TokenizerOf(const std::vector<std::string>& pieces) {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), false});
  }
  for (const std::string& piece : pieces) vocabulary.tokens.push_back({piece, false});
  return Tokenizer::Create(std::move(vocabulary)).value();
}

TEST(StreamingDecoder, HoldsBackACharacterUntilItIsWhole) {
  const auto tokenizer = TokenizerOf({});
  StreamingDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push('a').value(), "a");
  EXPECT_EQ(decoder.Push(0xF0).value(), "");
  EXPECT_EQ(decoder.Push(0x9F).value(), "");
  EXPECT_EQ(decoder.Push(0x98).value(), "");
  EXPECT_EQ(decoder.Push(0x80).value(), "😀");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamingDecoder, ReplacesWhatCannotBecomeACharacter) {
  const auto tokenizer = TokenizerOf({});
  StreamingDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(0x80).value(), "\uFFFD");
  EXPECT_EQ(decoder.Push(0xE2).value(), "");
  EXPECT_EQ(decoder.Push(0x82).value(), "");
  EXPECT_EQ(decoder.Push('b').value(), "\uFFFDb");
  EXPECT_EQ(decoder.Push(0xED).value(), "");
  EXPECT_EQ(decoder.Push(0xA0).value(), "\uFFFD\uFFFD");  // no surrogate begins so
}

TEST(StreamingDecoder, FlushReplacesAnUnfinishedCharacterOnce) {
  const auto tokenizer = TokenizerOf({"\xF0\x9F\x98"});
  StreamingDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(256).value(), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD");
  EXPECT_EQ(decoder.Flush(), "");
  EXPECT_EQ(decoder.Push('a').value(), "a");
}

TEST(StreamingDecoder, RefusesAnIdOutsideTheVocabularyAndGoesOn) {
  const auto tokenizer = TokenizerOf({});
  StreamingDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(0xC3).value(), "");
  EXPECT_EQ(decoder.Push(256).status().message(), "token id 256 is outside the vocabulary of 256");
  EXPECT_FALSE(decoder.Push(-1).ok());
  EXPECT_EQ(decoder.Push(0xA9).value(), "é");
}

TEST(StreamingDecoder, AddsUpToTheLossyDecodingOfAll) {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> pieces;
    for (int i = 0; i < 8; ++i) pieces.push_back(RandomBytes(random, 1 + Below(random, 6)));
    for (int i = 0; i < 8; ++i) pieces.push_back(RandomText(random, 1 + Below(random, 2)));
    // Characters in two tokens.
    for (int i = 0; i < 4; ++i) {
      const std::string character = Utf8(0x10000 + Below(random, 0x100000));
      const size_t cut = 1 + Below(random, 3);
      pieces.push_back(character.substr(0, cut));
      pieces.push_back(character.substr(cut));
    }
    const auto tokenizer = TokenizerOf(pieces);
    StreamingDecoder decoder(tokenizer.get());
    std::vector<int32_t> ids;
    std::string streamed;
    for (size_t n = Below(random, 20); ids.size() < n;) {
      ids.push_back(256 + Below(random, pieces.size()));
      const std::string text = decoder.Push(ids.back()).value();
      ASSERT_EQ(ValidUtf8Prefix(text), text.size()) << QuotedBytes(text);
      streamed += text;
    }
    streamed += decoder.Flush();
    ASSERT_EQ(streamed, LossyByDefinition(tokenizer->Decode(ids).value()));
  }
}

TEST(StreamingDecoder, GivesBackTheTextOfGpt2sTokens) {
  Random random(2);
  for (int round = 0; round < 100; ++round) {
    const std::string text = RandomText(random, 50);
    StreamingDecoder decoder(&Gpt2());
    std::string streamed;
    const auto ids = Gpt2().Encode(text).value();
    for (const int32_t id : ids) streamed += decoder.Push(id).value();
    EXPECT_EQ(streamed, text);
    EXPECT_EQ(decoder.Flush(), "");
  }
}

}  // namespace
}  // namespace deltaserve
