// The highest ids of a row: so many of them, or so much of their weight.
//
// Ids are counted, and weighed, in integers. Their sums are exact whatever the order in which the
// threads add, so a truncation never depends on it.
#ifndef DELTASERVE_KERNELS_CUDA_TRUNCATION_CUH_
#define DELTASERVE_KERNELS_CUDA_TRUNCATION_CUH_

#include "kernels/cuda/logits_row.cuh"

namespace deltaserve::cuda {

using Amount = uint64_t;  // of ids, or of weight

inline constexpr int kBinBits = 11;
inline constexpr int kBins = 1 << kBinBits;
inline constexpr int kMaxListed = 2048;

// In shared memory.
struct TruncationScratch {
  Amount bins[kBins];
  Rank list[kMaxListed];
  unsigned num_listed;
};

// What a truncation has left of a row.
struct Survivors {
  Rank lowest = 0;      // the ids of this rank and above
  int num_listed = -1;  // so many, when they are the first of the scratch's list, best first
  __device__ bool listed() const { return num_listed >= 0; }
};

// Adds to an amount in shared memory. As two halves: there is no 64-bit instruction for it.
__device__ inline void AtomicAdd(Amount* sum, Amount amount) {
  if (amount == 0) return;
  unsigned* halves = reinterpret_cast<unsigned*>(sum);
  const unsigned low = static_cast<unsigned>(amount);
  const unsigned carry = atomicAdd(&halves[0], low) + low < low ? 1 : 0;
  const unsigned high = static_cast<unsigned>(amount >> 32) + carry;
  if (high != 0) atomicAdd(&halves[1], high);
}

struct Crossing {
  int index;
  Amount before;  // the sum up to the index
};

// Where the running sum of n amounts in shared memory reaches `target`: 0 < target <= their sum.
// All threads of the block.
__device__ inline Crossing FindCrossing(const Amount* amounts, int n, Amount target) {
  __shared__ Amount of_warp[kMaxBlockThreads / kWarpSize];
  __shared__ Crossing found;
  const int each = (n + static_cast<int>(blockDim.x) - 1) / static_cast<int>(blockDim.x);
  const int begin = min(static_cast<int>(threadIdx.x) * each, n), end = min(begin + each, n);
  Amount own = 0;
  for (int i = begin; i < end; ++i) own += amounts[i];
  Amount reached = own;
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const Amount other = __shfl_up_sync(kAllLanes, reached, static_cast<unsigned>(distance));
    if (Lane() >= distance) reached += other;
  }
  if (Lane() == kWarpSize - 1) of_warp[WarpIndex()] = reached;
  __syncthreads();
  Amount before = reached - own;
  for (int warp = 0; warp < WarpIndex(); ++warp) before += of_warp[warp];
  if (before < target && target <= before + own) {
    int index = begin;
    while (before + amounts[index] < target) before += amounts[index++];
    found = {index, before};
  }
  __syncthreads();
  return found;
}

// The sum of amount_of(n) for n < count, each of which becomes amounts[n]. All threads of the
// block.
template <typename AmountOf>
__device__ inline Amount Tabulate(Amount* amounts, int count, const AmountOf& amount_of) {
  Amount total[1] = {0};
  for (int n = static_cast<int>(threadIdx.x); n < count; n += static_cast<int>(blockDim.x)) {
    total[0] += amounts[n] = amount_of(n);
  }
  BlockSum(total);
  return total[0];
}

// Zeros in all bins. All threads of the block.
__device__ inline void ClearBins(TruncationScratch& scratch) {
  for (int n = static_cast<int>(threadIdx.x); n < kBins; n += static_cast<int>(blockDim.x)) {
    scratch.bins[n] = 0;
  }
  __syncthreads();
}

// Batcher's bitonic sort of n values that are not 0. There is room for the next power of 2 of them.
// All threads of the block.
__device__ inline void SortDescending(uint64_t* values, int n) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  int size = 1;
  while (size < n) size *= 2;
  for (int i = n + thread; i < size; i += threads) values[i] = 0;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      for (int pair = thread; pair < size / 2; pair += threads) {
        const int i = 2 * pair - (pair & (distance - 1)), j = i + distance;
        const uint64_t a = values[i], b = values[j];
        const bool descending = (i & run) == 0;
        if ((a < b) == descending) {
          values[i] = b;
          values[j] = a;
        }
      }
      __syncthreads();
    }
  }
}

// Lists the ids that `wanted(logit, rank)`, in any order. Returns how many there are; where that is
// more than kMaxListed, the list is of no use. All threads of the block.
template <typename Row, typename Wanted>
__device__ inline int List(const Row& row, const Wanted& wanted, TruncationScratch& scratch) {
  if (threadIdx.x == 0) scratch.num_listed = 0;
  __syncthreads();
  row.ForEach([&](int32_t id, float logit) {
    const Rank rank = RankOf(logit, id);
    if (!wanted(logit, rank)) return;
    const unsigned n = atomicAdd(&scratch.num_listed, 1u);
    if (n < kMaxListed) scratch.list[n] = rank;
  });
  __syncthreads();
  const int count = static_cast<int>(scratch.num_listed);
  __syncthreads();  // the next call writes num_listed again
  return count;
}

// The rank at which the amounts of the ids of that rank and above come to `target`, digit by digit.
// All threads of the block.
template <typename Row, typename AmountOf>
__device__ inline Rank FindLowest(const Row& row, const AmountOf& amount_of, Amount target,
                                  TruncationScratch& scratch) {
  Rank prefix = 0;
  for (int shift = kRankBits; shift > 0;) {
    const int digit_bits = min(shift, kBinBits), below = shift - digit_bits;
    const int highest_digit = (1 << digit_bits) - 1;
    ClearBins(scratch);
    row.ForEach([&](int32_t id, float logit) {
      const Rank rank = RankOf(logit, id);
      if ((rank ^ prefix) >> shift != 0) return;
      const int digit = static_cast<int>(rank >> below) & highest_digit;
      AtomicAdd(&scratch.bins[highest_digit - digit], amount_of(logit, rank));
    });
    __syncthreads();
    const Crossing crossing = FindCrossing(scratch.bins, highest_digit + 1, target);
    prefix |= static_cast<Rank>(highest_digit - crossing.index) << below;
    target -= crossing.before;
    const bool takes_all = scratch.bins[crossing.index] == target;
    __syncthreads();  // the bins are cleared again
    if (takes_all) break;
    shift = below;
  }
  return prefix;
}

// Leaves the fewest of the survivors, from the highest down, whose amounts come to
// target_of(total amount). `amount_of(logit)` does not rise where the logit falls.
//
// One pass sorts the ids into bins by their distance from the highest logit; another one lists
// those of the bins that are needed. They are few but in a row that is nearly flat, which takes up
// to six passes more. All threads of the block.
template <typename Row, typename AmountOf, typename TargetOf>
__device__ inline void KeepHighest(const Row& row, float highest, float bins_per_logit,
                                   const AmountOf& amount_of, const TargetOf& target_of,
                                   TruncationScratch& scratch, Survivors& survivors) {
  const auto amount_of_listed = [&](int n) { return amount_of(LogitOfRank(scratch.list[n])); };
  if (survivors.listed()) {
    const Amount total = Tabulate(scratch.bins, survivors.num_listed, amount_of_listed);
    survivors.num_listed =
        FindCrossing(scratch.bins, survivors.num_listed, target_of(total)).index + 1;
    return;
  }

  const Rank lowest = survivors.lowest;
  const auto amount_of_survivor = [&](float logit, Rank rank) {
    return rank >= lowest ? amount_of(logit) : Amount{0};
  };
  const auto bin_of = [&](float logit) {
    return static_cast<int>(fminf((highest - logit) * bins_per_logit, kBins - 1.0f));
  };
  ClearBins(scratch);
  // Many ids may be in the last bin: a thread adds its own first.
  Amount in_last_bin = 0, total[1] = {0};
  row.ForEach([&](int32_t id, float logit) {
    const Amount amount = amount_of_survivor(logit, RankOf(logit, id));
    const int bin = bin_of(logit);
    if (bin == kBins - 1) {
      in_last_bin += amount;
    } else {
      AtomicAdd(&scratch.bins[bin], amount);
    }
    total[0] += amount;
  });
  AtomicAdd(&scratch.bins[kBins - 1], in_last_bin);
  BlockSum(total);
  const Amount target = target_of(total[0]);
  const int last_bin = FindCrossing(scratch.bins, kBins, target).index;

  int count = List(
      row, [&](float logit, Rank rank) { return rank >= lowest && bin_of(logit) <= last_bin; },
      scratch);
  if (count > kMaxListed) {
    survivors.lowest = FindLowest(row, amount_of_survivor, target, scratch);
    count = List(
        row, [&](float, Rank rank) { return rank >= survivors.lowest; }, scratch);
    if (count > kMaxListed) return;
  }
  SortDescending(scratch.list, count);
  Tabulate(scratch.bins, count, amount_of_listed);
  survivors.num_listed = FindCrossing(scratch.bins, count, target).index + 1;
}

// KeepHighest by number: `count` ids, or all there are.
template <typename Row>
__device__ inline void KeepTopK(const Row& row, float highest, int32_t count,
                                TruncationScratch& scratch, Survivors& survivors) {
  constexpr float kBinsPerLogit = 64;  // 32 in all
  const auto target_of = [count](Amount total) {
    const Amount target = static_cast<Amount>(count);
    return target < total ? target : total;
  };
  KeepHighest(
      row, highest, kBinsPerLogit, [](float) { return Amount{1}; }, target_of, scratch, survivors);
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_TRUNCATION_CUH_
