#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_ATTENTION_ONCE
#define DELTASERVE_KERNELS_CPU_ATTENTION_ONCE
namespace deltaserve::cpu {

// Keys are taken in blocks counted from position 0, each adding to a running softmax (Milakov and
// Gimelshein, "Online normalizer calculation for softmax"), so a row's sums do not depend on which
// other rows share the block.
inline constexpr int64_t kPagesPerBlock = 4;
inline constexpr int64_t kBlockKeys = kPagesPerBlock * kPageTokens;
// Query rows of one head that a worker takes through the keys together.
inline constexpr int64_t kGroupRows = 32;

// Consecutive tokens of one sequence, and a head.
struct AttentionItem {
  int64_t sequence = 0;
  int64_t head = 0;
  int64_t begin = 0, end = 0;
};

inline int64_t PaddedHeadDim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

// Asks for memory that is needed a block of keys later, a few lines at a time, so that a decode,
// which uses each key and value once, does not wait for them. Pages lie anywhere, and the processor
// foresees none but the one being read. They come as far as the second-level cache: the first has
// too few misses in flight for the memory's bandwidth.
class Ahead {
 public:
  void Add(const void* data, int64_t size_bytes) {
    segments_[num_segments_++] = {static_cast<const char*>(data), size_bytes};
  }
  template <int kLines>
  HWY_INLINE void Fetch() {
    if (num_segments_ == 0) return;
    Segment& segment = segments_[num_segments_ - 1];
    for (int n = 0; n < kLines; ++n) {
      __builtin_prefetch(segment.data + n * kLineBytes, /*rw=*/0, /*locality=*/2);
    }
    segment.data += kLines * kLineBytes;
    segment.size_bytes -= kLines * kLineBytes;
    if (segment.size_bytes <= 0) --num_segments_;
  }
  void FetchRest() {
    while (num_segments_ > 0) Fetch<4>();
  }

 private:
  static constexpr int64_t kLineBytes = 64;
  struct Segment {
    const char* data;
    int64_t size_bytes;
  };
  Segment segments_[2 * kPagesPerBlock];
  int num_segments_ = 0;
};

// Floats of scratch: queries and outputs by row, then the weights of one block.
inline int64_t AttentionScratch(int64_t head_dim) {
  return kGroupRows * (2 * PaddedHeadDim(head_dim) + kBlockKeys);
}

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kPageVectors = kPageTokens / kLanes;
static_assert(kPageTokens % kLanes == 0);

// Rows that are multiplied with a key or value while it is in a register.
constexpr int kTileRows = 4;
constexpr bool kManyRegisters = kLanes == 16;

// One item. T is the model dtype.
template <typename T>
class AttentionGroup {
 public:
  // next: the item after this one; null if there is none.
  AttentionGroup(const AttentionParams& p, const AttentionItem& item, const AttentionItem* next,
                 float* scratch)
      : p_(p),
        item_(item),
        next_(next),
        head_dim_(p.q.dim(1) / p.num_heads),
        stride_(PaddedHeadDim(head_dim_)),
        num_rows_(item.end - item.begin),
        positions_(p.batch.positions.As<int32_t>() + item.begin),
        q_(scratch),
        y_(q_ + kGroupRows * stride_),
        weights_(y_ + kGroupRows * stride_) {}

  void Run() {
    LoadQueries();
    const int64_t num_keys = positions_[num_rows_ - 1] + 1;
    for (int64_t first = 0; first < num_keys; first += kBlockKeys) {
      const int64_t following = first + kBlockKeys;
      if (following < num_keys) {
        LookAhead(item_, following);
      } else if (next_ != nullptr) {
        LookAhead(*next_, 0);
      }
      AddBlock(first, num_keys);
      ahead_.FetchRest();
    }
    StoreOutputs();
  }

 private:
  // Where this head's share of a page begins; values follow the keys of all heads.
  const T* Page(const AttentionItem& item, int64_t index, bool values) const {
    const int64_t head = values ? p_.num_heads + item.head : item.head;
    const int32_t page = p_.batch.page_table.Row<int32_t>(item.sequence)[index];
    return p_.kv.Row<const T>(page) + head * kPageTokens * head_dim_;
  }

  static int64_t NumPages(int64_t first, int64_t num_keys) {
    return (std::min(kBlockKeys, num_keys - first) + kPageTokens - 1) / kPageTokens;
  }

  // The block of keys at `first`, values last.
  void LookAhead(const AttentionItem& item, int64_t first) {
    const int64_t num_keys = p_.batch.positions.As<int32_t>()[item.end - 1] + 1;
    const int64_t page = first / kPageTokens;
    const int64_t page_bytes = kPageTokens * head_dim_ * static_cast<int64_t>(sizeof(T));
    for (const bool values : {true, false}) {
      for (int64_t n = NumPages(first, num_keys); n > 0; --n) {
        ahead_.Add(Page(item, page + n - 1, values), page_bytes);
      }
    }
  }

  void LoadQueries() {
    const Vec scale = hn::Set(kFloat, p_.scale);
    for (int64_t row = 0; row < num_rows_; ++row) {
      const float* q = p_.q.Row<float>(item_.begin + row) + item_.head * head_dim_;
      ForVectors(head_dim_, [&](int64_t i, auto extent) HWY_ATTR {
        Store(hn::Mul(Load(q + i, extent), scale), q_ + row * stride_ + i, extent);
      });
      std::fill_n(y_ + row * stride_, stride_, 0.0f);
      max_[row] = -kInfinity;
      sum_[row] = 0;
    }
  }

  // Keys [first, first + kBlockKeys), as far as there are so many, into every row.
  void AddBlock(int64_t first, int64_t num_keys) {
    const int64_t num_pages = NumPages(first, num_keys);
    for (int64_t n = 0; n < num_pages; ++n) {
      keys_[n] = Page(item_, first / kPageTokens + n, false);
      values_[n] = Page(item_, first / kPageTokens + n, true);
    }
    int64_t row = 0;
    while (row < num_rows_ && positions_[row] < first) ++row;  // rows that see none of it
    for (; row + kTileRows <= num_rows_; row += kTileRows)
      AddTile<kTileRows>(row, first, num_pages);
    for (; row < num_rows_; ++row) AddTile<1>(row, first, num_pages);
  }

  template <int kRows>
  void AddTile(int64_t row, int64_t first, int64_t num_pages) {
    constexpr int kPagesAtOnce = kRows == 1 || kManyRegisters ? kPagesPerBlock : 1;
    int64_t page = 0;
    for (; page + kPagesAtOnce <= num_pages; page += kPagesAtOnce) {
      Scores<kRows, kPagesAtOnce>(row, page);
    }
    for (; page < num_pages; ++page) Scores<kRows, 1>(row, page);

    float correction[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int64_t visible = std::min(kBlockKeys, positions_[row + r] + 1 - first);
      correction[r] = Softmax(row + r, visible);
    }
    const int64_t visible = std::min(kBlockKeys, positions_[row + kRows - 1] + 1 - first);
    constexpr int kVectors = kManyRegisters ? (kRows == 1 ? 8 : 4) : (kRows == 1 ? 4 : 2);
    int64_t i = 0;
    for (; i + kVectors * kLanes <= head_dim_; i += kVectors * kLanes) {
      AddValues<kRows, kVectors>(row, i, visible, correction, Whole());
    }
    for (; i + kLanes <= head_dim_; i += kLanes) {
      AddValues<kRows, 1>(row, i, visible, correction, Whole());
    }
    if (i < head_dim_) AddValues<kRows, 1>(row, i, visible, correction, Part{head_dim_ - i});
  }

  // Scores of the pages [page, page + kPages) for rows [row, row + kRows).
  template <int kRows, int kPages>
  HWY_INLINE void Scores(int64_t row, int64_t page) {
    constexpr int kVectors = kPages * kPageVectors;
    Vec scores[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int n = 0; n < kVectors; ++n) scores[r][n] = hn::Zero(kFloat);
    }
    const float* q = q_ + row * stride_;
    for (int64_t i = 0; i < head_dim_; ++i) {
      Vec keys[kVectors];
      for (int n = 0; n < kVectors; ++n) {
        const T* from = keys_[page + n / kPageVectors] + i * kPageTokens;
        keys[n] = Load(from + n % kPageVectors * kLanes, Whole());
      }
      if constexpr (kRows == 1) ahead_.Fetch<2>();
      for (int r = 0; r < kRows; ++r) {
        const Vec q_i = hn::Set(kFloat, q[r * stride_ + i]);
        for (int n = 0; n < kVectors; ++n) scores[r][n] = hn::MulAdd(q_i, keys[n], scores[r][n]);
      }
    }
    float* out = weights_ + row * kBlockKeys + page * kPageTokens;
    for (int r = 0; r < kRows; ++r) {
      for (int n = 0; n < kVectors; ++n) {
        hn::StoreU(scores[r][n], kFloat, out + r * kBlockKeys + n * kLanes);
      }
    }
  }

  // Turns the row's scores into weights relative to its new maximum. Returns the factor that what
  // was summed before is due.
  HWY_INLINE float Softmax(int64_t row, int64_t visible) {
    constexpr int kVectors = kBlockKeys / kLanes;
    float* weights = weights_ + row * kBlockKeys;
    const Vec lowest = hn::Set(kFloat, -kInfinity);
    Vec score[kVectors];
    Vec max = lowest;
    for (int n = 0; n < kVectors; ++n) {
      const int64_t left = std::clamp<int64_t>(visible - n * kLanes, 0, kLanes);
      const auto seen = hn::FirstN(kFloat, static_cast<size_t>(left));
      score[n] = hn::IfThenElse(seen, hn::LoadU(kFloat, weights + n * kLanes), lowest);
      max = hn::Max(max, score[n]);
    }
    const float old_max = max_[row];
    max_[row] = std::max(old_max, hn::GetLane(hn::MaxOfLanes(kFloat, max)));
    const Vec new_max = hn::Set(kFloat, max_[row]);
    Vec sum = hn::Zero(kFloat);
    for (int n = 0; n < kVectors; ++n) {
      const Vec weight = Exp(hn::Sub(score[n], new_max));
      hn::StoreU(weight, kFloat, weights + n * kLanes);
      sum = hn::Add(sum, weight);
    }
    const float correction = hn::GetLane(Exp(hn::Sub(hn::Set(kFloat, old_max), new_max)));
    sum_[row] = sum_[row] * correction + Sum(sum);
    return correction;
  }

  // Entries [i, i + kVectors * kLanes) of the outputs.
  template <int kRows, int kVectors, typename Extent>
  HWY_INLINE void AddValues(int64_t row, int64_t i, int64_t num_keys, const float* correction,
                            Extent extent) {
    Vec y[kRows][kVectors];
    float* out = y_ + row * stride_ + i;
    for (int r = 0; r < kRows; ++r) {
      for (int n = 0; n < kVectors; ++n) {
        const Vec before = hn::LoadU(kFloat, out + r * stride_ + n * kLanes);
        y[r][n] = hn::Mul(before, hn::Set(kFloat, correction[r]));
      }
    }
    const float* weights = weights_ + row * kBlockKeys;
    for (int64_t key = 0; key < num_keys; ++key) {
      const T* from = values_[key / kPageTokens] + key % kPageTokens * head_dim_ + i;
      Vec values[kVectors];
      for (int n = 0; n < kVectors; ++n) values[n] = Load(from + n * kLanes, extent);
      if constexpr (kRows == 1) ahead_.Fetch<4>();
      for (int r = 0; r < kRows; ++r) {
        const Vec weight = hn::Set(kFloat, weights[r * kBlockKeys + key]);
        for (int n = 0; n < kVectors; ++n) y[r][n] = hn::MulAdd(weight, values[n], y[r][n]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int n = 0; n < kVectors; ++n) {
        hn::StoreU(y[r][n], kFloat, out + r * stride_ + n * kLanes);
      }
    }
  }

  void StoreOutputs() const {
    for (int64_t row = 0; row < num_rows_; ++row) {
      const Vec scale = hn::Set(kFloat, 1.0f / sum_[row]);
      T* out = p_.y.Row<T>(item_.begin + row) + item_.head * head_dim_;
      ForVectors(head_dim_, [&](int64_t i, auto extent) HWY_ATTR {
        Store(hn::Mul(Load(y_ + row * stride_ + i, extent), scale), out + i, extent);
      });
    }
  }

  const AttentionParams& p_;
  const AttentionItem& item_;
  const AttentionItem* const next_;
  const int64_t head_dim_;
  const int64_t stride_;
  const int64_t num_rows_;
  const int32_t* positions_;  // of the rows
  float* q_;                  // [kGroupRows, stride], scaled
  float* y_;                  // [kGroupRows, stride], not yet divided by sum
  float* weights_;            // [kGroupRows, kBlockKeys]
  Ahead ahead_;
  float max_[kGroupRows];
  float sum_[kGroupRows];
  const T* keys_[kPagesPerBlock];
  const T* values_[kPagesPerBlock];
};

// Consecutive items.
void RunItems(const AttentionParams& p, const AttentionItem* begin, const AttentionItem* end,
              float* scratch) {
  VisitDType(p.kv.dtype, [&](auto type) {
    for (const AttentionItem* item = begin; item != end; ++item) {
      const AttentionItem* next = item + 1 == end ? nullptr : item + 1;
      AttentionGroup<decltype(type)>(p, *item, next, scratch).Run();
    }
  });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {

HWY_EXPORT(RunItems);

namespace {

// The pages of the next cache are in the order in which they will be read. With fewer rows memory
// is busy with the weights anyway, and the products of more are not those that read ahead.
void ReadAheadOf(const AttentionParams& p, Workers& workers) {
  constexpr int64_t kLeastRows = 16;
  ReadAhead& ahead = workers.read_ahead();
  ahead.Clear();
  if (!p.next_kv || p.batch.num_tokens < kLeastRows) return;
  const int32_t* kv_len = p.batch.kv_len.As<int32_t>();
  const int64_t page_bytes =
      p.next_kv.shape.NumElements() / p.next_kv.dim(0) * SizeBytes(p.next_kv.dtype);
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    const int32_t* pages = p.batch.page_table.Row<int32_t>(s);
    const int worker = workers.OwnerOf(s, p.batch.num_sequences);
    for (int64_t i = 0; i * kPageTokens < kv_len[s]; ++i) {
      const char* page = p.next_kv.As<char>() + pages[i] * page_bytes;
      if (!ahead.Add(worker, page, page_bytes)) break;
    }
  }
}

}  // namespace

void Attention(const AttentionParams& p, Workers& workers) {
  constexpr int64_t kWorthSharing = 1 << 15;  // multiply-adds
  constexpr int64_t kMaxGroupItems = 8;
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  const int32_t* offsets = p.batch.query_offsets.As<int32_t>();
  const int32_t* kv_len = p.batch.kv_len.As<int32_t>();
  std::vector<AttentionItem> items;
  int64_t work = 0;
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    work += (offsets[s + 1] - offsets[s]) * kv_len[s] * p.num_heads * head_dim;
    // The longest rows first: what is left at the end is short.
    for (int64_t end = offsets[s + 1]; end > offsets[s]; end -= kGroupRows) {
      const int64_t begin = std::max<int64_t>(offsets[s], end - kGroupRows);
      for (int64_t head = 0; head < p.num_heads; ++head) items.push_back({s, head, begin, end});
    }
  }
  workers.ReserveScratch(AttentionScratch(head_dim) * sizeof(float));
  const auto run = HWY_DYNAMIC_DISPATCH(RunItems);
  // Neighbours of one worker, which overlaps the end of one with the start of the next; few enough
  // that the workers finish together.
  const int64_t num_items = static_cast<int64_t>(items.size());
  const int64_t group = std::clamp<int64_t>(num_items / (4 * workers.count()), 1, kMaxGroupItems);
  workers.ForEach((num_items + group - 1) / group, work < kWorthSharing,
                  [&](int64_t n, int worker) {
                    const AttentionItem* begin = items.data() + n * group;
                    const AttentionItem* end = items.data() + std::min(num_items, (n + 1) * group);
                    run(p, begin, end, workers.Scratch<float>(worker));
                  });
  ReadAheadOf(p, workers);
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
