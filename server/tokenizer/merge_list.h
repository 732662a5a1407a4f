// The ordered list of merges that tokenizer.json and merges.txt share.
#ifndef DELTASERVE_SERVER_TOKENIZER_MERGE_LIST_H_
#define DELTASERVE_SERVER_TOKENIZER_MERGE_LIST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/tokenizer/vocabulary.h"

namespace deltaserve {

// Resolves merges one by one, ranked in the order they are added. `vocabulary` must outlive it,
// its tokens unchanged.
class MergeList {
 public:
  explicit MergeList(const Vocabulary& vocabulary) : ids_(OrdinaryTokenIds(vocabulary)) {}

  // Both as spelled in the file, in the byte alphabet. INVALID_ARGUMENT when one of them or their
  // concatenation is no ordinary token, or when the pair was added before.
  absl::Status Add(std::string_view left, std::string_view right);
  // "left right", with exactly one space.
  absl::Status Add(std::string_view pair);

  std::vector<Merge> Take() && { return std::move(merges_); }

 private:
  TokenIds ids_;
  absl::flat_hash_map<std::pair<int32_t, int32_t>, int32_t> ranks_;
  std::vector<Merge> merges_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_MERGE_LIST_H_
