#include "server/tokenizer/byte_pair_encoder.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;

// The definition: while any two neighbours merge, merge the leftmost of the lowest rank.
std::vector<int32_t> EncodeByDefinition(const Vocabulary& vocabulary, std::string_view piece) {
  std::vector<int32_t> ids;
  for (const char byte : piece) {
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      if (vocabulary.tokens[id].bytes == std::string(1, byte)) ids.push_back(id);
    }
  }
  while (true) {
    const Merge* best = nullptr;
    size_t best_position = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      for (const Merge& merge : vocabulary.merges) {
        if (merge.left != ids[i] || merge.right != ids[i + 1]) continue;
        if (best == nullptr || merge.rank < best->rank) {
          best = &merge;
          best_position = i;
        }
      }
    }
    if (best == nullptr) return ids;
    ids[best_position] = best->result;
    ids.erase(ids.begin() + best_position + 1);
  }
}

// Over the letters "abc", each merge of two tokens that exist, ranked in random order.
Vocabulary RandomVocabulary(Random& random, int merges) {
  Vocabulary vocabulary;
  for (const char* letter : {"a", "b", "c"}) vocabulary.tokens.push_back({letter, false});
  while (static_cast<int>(vocabulary.merges.size()) < merges) {
    const auto left = static_cast<int32_t>(Below(random, vocabulary.tokens.size()));
    const auto right = static_cast<int32_t>(Below(random, vocabulary.tokens.size()));
    const std::string bytes = vocabulary.tokens[left].bytes + vocabulary.tokens[right].bytes;
    const bool is_new = std::none_of(
        vocabulary.merges.begin(), vocabulary.merges.end(),
        [&](const Merge& merge) { return merge.left == left && merge.right == right; });
    if (!is_new || bytes.size() > 12) continue;
    int32_t result = 0;
    while (result < static_cast<int32_t>(vocabulary.tokens.size()) &&
           vocabulary.tokens[result].bytes != bytes) {
      ++result;
    }
    if (result == static_cast<int32_t>(vocabulary.tokens.size())) {
      vocabulary.tokens.push_back({bytes, false});
    }
    vocabulary.merges.push_back({left, right, result, 0});
  }
  std::shuffle(vocabulary.merges.begin(), vocabulary.merges.end(), random);
  for (int rank = 0; rank < merges; ++rank) vocabulary.merges[rank].rank = rank;
  return vocabulary;
}

TEST(BytePairEncoder, FollowsTheDefinition) {
  Random random(1);
  BytePairEncoder::Workspace workspace;
  for (int round = 0; round < 100; ++round) {
    const Vocabulary vocabulary = RandomVocabulary(random, 1 + Below(random, 20));
    const BytePairEncoder encoder(vocabulary);
    for (int i = 0; i < 20; ++i) {
      std::string piece;
      for (size_t size = Below(random, 40); piece.size() < size;) {
        piece.push_back("abc"[Below(random, 3)]);
      }
      std::vector<int32_t> ids;
      encoder.Encode(piece, workspace, ids);
      ASSERT_EQ(ids, EncodeByDefinition(vocabulary, piece)) << piece;
    }
  }
}

TEST(BytePairEncoder, MergesTheLeftmostOfEqualRank) {
  const Vocabulary vocabulary = {{{"a", false}, {"aa", false}}, {{0, 0, 1, 0}}};
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  BytePairEncoder(vocabulary).Encode("aaa", workspace, ids);
  EXPECT_THAT(ids, ElementsAre(1, 0));
}

TEST(BytePairEncoder, KnowsTheBytesThatAreOrdinaryTokens) {
  const Vocabulary vocabulary = {{{"a", false}, {"b", true}, {"cc", false}}, {}};
  const BytePairEncoder encoder(vocabulary);
  EXPECT_TRUE(encoder.Knows('a'));
  EXPECT_FALSE(encoder.Knows('b'));
  EXPECT_FALSE(encoder.Knows('c'));
}

TEST(BytePairEncoder, AppendsNothingForNothing) {
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids = {7};
  BytePairEncoder(Vocabulary{{{"a", false}}, {}}).Encode("", workspace, ids);
  EXPECT_THAT(ids, ElementsAre(7));
}

}  // namespace
}  // namespace deltaserve
