#include "server/tokenizer/byte_pair_encoder.h"

#include <algorithm>
#include <cstddef>
#include <functional>

namespace deltaserve {

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary) {
  byte_ids_.fill(-1);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.special || token.bytes.size() != 1) continue;
    byte_ids_[static_cast<uint8_t>(token.bytes[0])] = static_cast<int32_t>(id);
  }
  merges_.reserve(vocabulary.merges.size());
  for (const Merge& merge : vocabulary.merges) {
    merges_.emplace(std::make_pair(merge.left, merge.right), Outcome{merge.rank, merge.result});
  }
}

// Notes what `left` and its right neighbour would merge to, and puts that at the queue's end.
void BytePairEncoder::Offer(int32_t left, Workspace& workspace) const {
  Workspace::Symbol& symbol = workspace.symbols_[left];
  symbol.merge.rank = Workspace::kNone;
  if (symbol.next == Workspace::kNone) return;
  const auto found = merges_.find({symbol.id, workspace.symbols_[symbol.next].id});
  if (found == merges_.end()) return;
  symbol.merge = found->second;
  workspace.queue_.push_back(Workspace::Candidate(symbol.merge.rank, left));
}

void BytePairEncoder::Encode(std::string_view piece, Workspace& workspace,
                             std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  constexpr int32_t kNone = Workspace::kNone;
  std::vector<Workspace::Symbol>& symbols = workspace.symbols_;
  std::vector<uint64_t>& queue = workspace.queue_;

  const auto size = static_cast<int32_t>(piece.size());
  symbols.resize(size);
  for (int32_t i = 0; i < size; ++i) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(piece[i])];
    symbols[i] = {id, i - 1, i + 1 < size ? i + 1 : kNone, {kNone, kNone}};
  }
  queue.clear();
  for (int32_t i = 0; i < size; ++i) Offer(i, workspace);
  std::make_heap(queue.begin(), queue.end(), std::greater<>());

  const auto offer = [&](int32_t left) {
    const size_t before = queue.size();
    Offer(left, workspace);
    if (queue.size() > before) std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t candidate = queue.back();
    queue.pop_back();
    const auto left = static_cast<int32_t>(candidate & 0xFFFFFFFF);
    Workspace::Symbol& symbol = symbols[left];
    // Out of date when either symbol has merged elsewhere since. A symbol's pair only ever grows,
    // so equal ranks mean the very same pair.
    if (symbol.merge.rank == kNone || Workspace::Candidate(symbol.merge.rank, left) != candidate) {
      continue;
    }
    Workspace::Symbol& absorbed = symbols[symbol.next];
    symbol.id = symbol.merge.id;
    symbol.next = absorbed.next;
    absorbed.merge.rank = kNone;
    if (symbol.next != kNone) symbols[symbol.next].previous = left;
    offer(left);
    if (symbol.previous != kNone) offer(symbol.previous);
  }
  for (int32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace deltaserve
