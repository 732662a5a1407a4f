// Sampling of an id from a row of logits. A block for each row.
#ifndef DELTASERVE_KERNELS_CUDA_SAMPLE_CUH_
#define DELTASERVE_KERNELS_CUDA_SAMPLE_CUH_

#include "kernels/cuda/truncation.cuh"
#include "kernels/uniform_draw.h"

namespace deltaserve::cuda {

// The weights of ids, e^((logit - highest) / temperature), and the same in units so small that the
// sum of a whole row just fits an Amount: the highest id weighs 2^unit_bits of them.
class Weights {
 public:
  __device__ Weights(float highest, float temperature, int unit_bits)
      : highest_(highest),
        inverse_temperature_(1.0 / temperature),
        units_(static_cast<double>(Amount{1} << unit_bits)) {}

  __device__ Amount Of(float logit) const { return InUnits(Weight(logit)); }
  // None for weights below the least.
  __device__ Amount OfAtLeast(float min_weight, float logit) const {
    const double weight = Weight(logit);
    return weight < min_weight ? 0 : InUnits(weight);
  }

 private:
  __device__ double Weight(float logit) const {
    return exp((static_cast<double>(logit) - highest_) * inverse_temperature_);
  }
  __device__ Amount InUnits(double weight) const {
    return static_cast<Amount>(weight * units_ + 0.5);
  }

  double highest_;
  double inverse_temperature_;
  double units_;
};

// Ids of a row that a warp sums up together when one is drawn from all of them.
inline constexpr int kTileIds = 512;
static_assert(kTileIds <= kBins && (kMaxId + 1) / kTileIds <= kBins);

// The amount that the running sum, in id order, has to reach at the drawn id: the first to exceed
// `uniform` of the total.
__device__ inline Amount DrawTarget(Amount total, double uniform) {
  const Amount drawn = static_cast<Amount>(static_cast<double>(total) * uniform);
  return (drawn < total ? drawn : total - 1) + 1;
}

// Draws from the list. `amount_of(logit)`. All threads of the block.
template <typename AmountOf>
__device__ inline int32_t DrawListed(int num_listed, const AmountOf& amount_of, double uniform,
                                     TruncationScratch& scratch) {
  // Ranks with their halves swapped sort by id.
  constexpr int kKeyBits = 32;
  for (int n = static_cast<int>(threadIdx.x); n < num_listed; n += static_cast<int>(blockDim.x)) {
    const Rank rank = scratch.list[n];
    scratch.list[n] = (rank & static_cast<Rank>(kMaxId)) << kKeyBits | rank >> kIdBits;
  }
  __syncthreads();
  SortDescending(scratch.list, num_listed);
  const Amount total = Tabulate(scratch.bins, num_listed, [&](int n) {
    return amount_of(LogitOfKey(static_cast<uint32_t>(scratch.list[n])));
  });
  const Crossing drawn = FindCrossing(scratch.bins, num_listed, DrawTarget(total, uniform));
  return kMaxId - static_cast<int32_t>(scratch.list[drawn.index] >> kKeyBits);
}

// Draws from the ids of rank `lowest` and above: finds the tile in one pass, then the id in it. All
// threads of the block.
template <typename AmountOf>
__device__ inline int32_t DrawFromRow(const EditedRow& row, Rank lowest, const AmountOf& amount_of,
                                      double uniform, Amount* bins) {
  const auto amount = [&](int32_t id, float logit) {
    return RankOf(logit, id) >= lowest ? amount_of(logit) : Amount{0};
  };
  const int num_tiles = (row.vocab() + kTileIds - 1) / kTileIds;
  for (int tile = WarpIndex(); tile < num_tiles; tile += NumWarps()) {
    Amount sum = 0;
    for (int begin = tile * kTileIds + Lane() * kQuad; begin < (tile + 1) * kTileIds;
         begin += kWarpSize * kQuad) {
      float quad[kQuad];
      row.raw().LoadQuad(begin, quad);
#pragma unroll
      for (int n = 0; n < kQuad; ++n) {
        if (begin + n < row.vocab() && !row.IsEdited(begin + n)) sum += amount(begin + n, quad[n]);
      }
    }
    sum = WarpSum(sum);
    if (Lane() == 0) bins[tile] = sum;
  }
  __syncthreads();
  row.ForEachEdited(
      [&](int32_t id, float logit) { AtomicAdd(&bins[id / kTileIds], amount(id, logit)); });
  __syncthreads();
  const Amount total = Tabulate(bins, num_tiles, [&](int tile) { return bins[tile]; });
  const Amount target = DrawTarget(total, uniform);
  const Crossing tile = FindCrossing(bins, num_tiles, target);

  const int32_t begin = tile.index * kTileIds;
  const int32_t end = min(begin + kTileIds, row.vocab());
  Tabulate(bins, end - begin, [&](int n) {
    const int32_t id = begin + n;
    return row.IsEdited(id) ? Amount{0} : amount(id, row.raw()[id]);
  });
  row.ForEachEdited([&](int32_t id, float logit) {
    if (begin <= id && id < end) bins[id - begin] = amount(id, logit);
  });
  __syncthreads();
  return begin + FindCrossing(bins, end - begin, target - tile.before).index;
}

struct SampleArgs {
  const float* logits;
  const SamplingRow* rows;
  const LogitEdit* edits;
  int32_t* sampled_ids;
  int32_t* last_ids;
  int64_t logits_stride;
  int64_t first_row;
  int32_t vocab;
  int32_t unit_bits;  // (vocab << unit_bits) < 2^63
};

// The id drawn from a row whose logits are finite or banned, and not all banned. All threads of the
// block.
__device__ inline int32_t Draw(const SamplingRow& row, const EditedRow& logits, float highest,
                               int unit_bits, TruncationScratch& scratch) {
  const Weights weights(highest, row.temperature, unit_bits);
  Survivors survivors;
  if (row.top_k > 0 && row.top_k < logits.vocab()) {
    KeepTopK(logits, highest, row.top_k, scratch, survivors);
  }
  if (row.top_p < 1) {
    // Weights under e^-32 are 0 units or next to it. The limit keeps 0 * bins_per_logit a number.
    const float bins_per_logit = fminf(64 / row.temperature, 1e30f);
    const auto target_of = [&](Amount total) {
      const double wanted = ceil(static_cast<double>(row.top_p) * static_cast<double>(total));
      const Amount target = wanted < 1 ? 1 : static_cast<Amount>(wanted);
      return target < total ? target : total;
    };
    KeepHighest(
        logits, highest, bins_per_logit, [&](float logit) { return weights.Of(logit); }, target_of,
        scratch, survivors);
  }
  const auto amount_of = [&](float logit) { return weights.OfAtLeast(row.min_p, logit); };
  const double uniform =
      UniformDraw(row.seed, static_cast<uint32_t>(row.stream), static_cast<uint32_t>(row.position));
  return survivors.listed()
             ? DrawListed(survivors.num_listed, amount_of, uniform, scratch)
             : DrawFromRow(logits, survivors.lowest, amount_of, uniform, scratch.bins);
}

// Dynamic shared memory: TruncationScratch, then the bit map of edited ids.
//
// Bytes: 4 M V for greedy rows, read once; read again once to draw from all ids, and twice with
// top_k or top_p; up to eight times more for each of these that leaves thousands of a row that is
// nearly flat. From L2 after the first time, where the logits fit it. FLOPs: about 6 M V for greedy
// rows; 25 M V more, in fp64, to draw from all ids or with top_p.
//
// The id is the reference's but where the drawn number, or the share top_p, falls into the rounding
// of a sum of weights: 2^-unit_bits of the highest weight for each id, 2^-47 for V = 50,304.
__global__ void __launch_bounds__(kMaxRowThreads, kRowBlocksOfProcessor)
    SampleKernel(SampleArgs a) {
  const SamplingRow row = a.rows[blockIdx.x];
  TruncationScratch& scratch = *reinterpret_cast<TruncationScratch*>(SharedMemory());
  const EditedRow logits(
      LogitsRow(a.logits + (row.logits_row - a.first_row) * a.logits_stride, a.vocab), row, a.edits,
      reinterpret_cast<unsigned*>(&scratch + 1));

  FiniteCheck check;
  float highest = -INFINITY;
  int32_t highest_id = kMaxId;
  const auto compare = [&](int32_t id, float logit) {
    if (logit > highest || (logit == highest && id < highest_id)) {
      highest = logit;
      highest_id = id;
    }
  };
  logits.raw().ForEach<4>([&](int32_t id, float logit) {
    check.See(logit);
    if (!logits.IsEdited(id)) compare(id, logit);
  });
  logits.ForEachEdited(compare);
  const Rank best = BlockMax(RankOf(highest, highest_id));
  highest = LogitOfRank(best);

  int32_t id = -1;
  if (check.OfBlock() && highest > -INFINITY) {
    id = row.temperature == 0 ? IdOfRank(best) : Draw(row, logits, highest, a.unit_bits, scratch);
  }
  if (threadIdx.x != 0) return;
  a.sampled_ids[blockIdx.x] = id;
  if (id >= 0) a.last_ids[row.state_slot] = id;
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_SAMPLE_CUH_
