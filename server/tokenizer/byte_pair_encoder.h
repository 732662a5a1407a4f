#ifndef DELTASERVE_SERVER_TOKENIZER_BYTE_PAIR_ENCODER_H_
#define DELTASERVE_SERVER_TOKENIZER_BYTE_PAIR_ENCODER_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/tokenizer/vocabulary.h"

namespace deltaserve {

// Byte pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over bytes, in O(n log n) for a
// piece of n bytes: the symbols form a linked list, the possible merges a heap. Immutable; any
// number of threads may use one, each with its own Workspace.
class BytePairEncoder {
 public:
  // Memory that one call leaves to the next.
  class Workspace;

  explicit BytePairEncoder(const Vocabulary& vocabulary);

  // Whether some token is this byte alone.
  bool Knows(uint8_t byte) const { return byte_ids_[byte] >= 0; }

  // Appends to `ids` the tokens of `piece`: at most INT32_MAX bytes, every one of them known.
  void Encode(std::string_view piece, Workspace& workspace, std::vector<int32_t>& ids) const;

 private:
  struct Outcome {
    int32_t rank;
    int32_t id;
  };

  void Offer(int32_t left, Workspace& workspace) const;

  std::array<int32_t, 256> byte_ids_;  // -1: unknown
  absl::flat_hash_map<std::pair<int32_t, int32_t>, Outcome> merges_;
};

class BytePairEncoder::Workspace {
 private:
  friend class BytePairEncoder;

  static constexpr int32_t kNone = -1;

  struct Symbol {
    int32_t id;
    int32_t previous;  // kNone at either end
    int32_t next;
    // What merging with `next` would give; rank kNone when the two do not merge.
    Outcome merge;
  };

  // Rank, then position: the least is the merge to make next.
  static uint64_t Candidate(int32_t rank, int32_t position) {
    return (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(position);
  }

  std::vector<Symbol> symbols_;  // by the position of their first byte
  std::vector<uint64_t> queue_;  // min-heap of candidates, out-of-date ones among them
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_BYTE_PAIR_ENCODER_H_
