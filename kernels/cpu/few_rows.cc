#include "kernels/cpu/few_rows.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/dtype.h"

// Intrinsics, as Highway has no bf16 dot product of one instruction in this version.
#define DELTASERVE_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace deltaserve::cpu {
namespace {

constexpr int64_t kLanes = 16;

// Rows that are multiplied with a weight while it is in a register: their sums fill most of the 32.
constexpr int kTileRows = 6;

// What one block of outputs needs.
template <typename T>
struct BlockProduct {
  const T* x;  // the first row
  int64_t x_stride;
  const T* block;
  int64_t in;
};

// Asks for a part of the weight that is needed later, a little with every step of a loop, so that
// memory is never idle. As far as the second-level cache: the first has too few misses in flight.
// Of a longer step only two lines are asked for; the processor foresees the rest of a fast walk.
// What others read later comes a line a step.
struct Ahead {
  static constexpr int64_t kLineBytes = ReadAhead::kLineBytes;
  const char* at;
  int64_t step_bytes;
  ReadAhead::Lines later;
  void Fetch() {
    __builtin_prefetch(at, /*rw=*/0, /*locality=*/2);
    if (step_bytes > kLineBytes) {
      __builtin_prefetch(at + kLineBytes, /*rw=*/0, /*locality=*/2);
    }
    at += step_bytes;
    if (later.begin != later.end) {
      __builtin_prefetch(later.begin, /*rw=*/0, /*locality=*/2);
      later.begin += kLineBytes;
    }
  }
};

DELTASERVE_AVX512_BF16 inline void StoreVector(__m512 v, float* to, int64_t count) {
  const auto lanes = static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
  _mm512_mask_storeu_ps(to, lanes, v);
}
DELTASERVE_AVX512_BF16 inline void StoreVector(__m512 v, BFloat16* to, int64_t count) {
  const auto lanes = static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
  // As oneDNN rounds, subnormals included.
  const __m256bh rounded = _mm512_cvtneps_pbh(v);
  _mm256_mask_storeu_epi16(to, lanes, reinterpret_cast<const __m256i&>(rounded));
}

// acc += x W^T over inputs [begin, end).
template <int kRows, int kVectors>
DELTASERVE_AVX512_BF16 inline void Accumulate(const BlockProduct<float>& p, int64_t begin,
                                              int64_t end, Ahead ahead,
                                              __m512 (&acc)[kRows][kVectors]) {
  const float* weight = p.block + begin * kVectors * kLanes;
  for (int64_t k = begin; k < end; ++k, weight += kVectors * kLanes) {
    ahead.Fetch();
    __m512 w[kVectors];
    for (int n = 0; n < kVectors; ++n) w[n] = _mm512_loadu_ps(weight + n * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = _mm512_set1_ps(p.x[r * p.x_stride + k]);
      for (int n = 0; n < kVectors; ++n) acc[r][n] = _mm512_fmadd_ps(x, w[n], acc[r][n]);
    }
  }
}

// The same for two inputs, or the last one and none: weight is [width, 2], and x where the first
// row's inputs are.
template <int kInputs, int kRows, int kVectors>
DELTASERVE_AVX512_BF16 inline void AccumulatePair(const BFloat16* weight, const BFloat16* x,
                                                  int64_t x_stride,
                                                  __m512 (&acc)[kRows][kVectors]) {
  __m512i w[kVectors];
  for (int n = 0; n < kVectors; ++n) w[n] = _mm512_loadu_si512(weight + n * 2 * kLanes);
  for (int r = 0; r < kRows; ++r) {
    int32_t inputs = 0;
    std::memcpy(&inputs, x + r * x_stride, kInputs * sizeof(BFloat16));
    const __m512i pair = _mm512_set1_epi32(inputs);
    for (int n = 0; n < kVectors; ++n) {
      acc[r][n] = _mm512_dpbf16_ps(acc[r][n], reinterpret_cast<const __m512bh&>(pair),
                                   reinterpret_cast<const __m512bh&>(w[n]));
    }
  }
}

template <int kRows, int kVectors>
DELTASERVE_AVX512_BF16 inline void Accumulate(const BlockProduct<BFloat16>& p, int64_t begin,
                                              int64_t end, Ahead ahead,
                                              __m512 (&acc)[kRows][kVectors]) {
  const BFloat16* weight = p.block + begin * kVectors * kLanes;
  const int64_t x_stride = p.x_stride;
  int64_t k = begin;
  for (; k + 2 <= end; k += 2, weight += 2 * kVectors * kLanes) {
    ahead.Fetch();
    AccumulatePair<2>(weight, p.x + k, x_stride, acc);
  }
  if (k < end) AccumulatePair<1>(weight, p.x + k, x_stride, acc);
}

template <int kRows, int kVectors>
DELTASERVE_AVX512_BF16 inline void SetZero(__m512 (&acc)[kRows][kVectors]) {
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kVectors; ++n) acc[r][n] = _mm512_setzero_ps();
  }
}

// A chunk of inputs [begin, end), and what to fetch while it is multiplied.
struct Chunk {
  int64_t begin, end;
  Ahead ahead;
};

// total += x W^T over one chunk, for rows [row, row + kRows). Each row's chain starts anew in a
// chunk, but for the first one.
template <int kRows, int kVectors, typename T>
DELTASERVE_AVX512_BF16 void AddTile(const BlockProduct<T>& p, int64_t row, const Chunk& chunk,
                                    __m512 (*total)[kVectors]) {
  BlockProduct<T> product = p;
  product.x += row * p.x_stride;
  __m512 acc[kRows][kVectors];
  SetZero(acc);
  Accumulate(product, chunk.begin, chunk.end, chunk.ahead, acc);
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kVectors; ++n) {
      total[row + r][n] =
          chunk.begin == 0 ? acc[r][n] : _mm512_add_ps(total[row + r][n], acc[r][n]);
    }
  }
}

template <int kVectors, typename T>
DELTASERVE_AVX512_BF16 void AddTile(int64_t rows, const BlockProduct<T>& p, int64_t row,
                                    const Chunk& chunk, __m512 (*total)[kVectors]) {
  switch (rows) {
    case 1:
      return AddTile<1>(p, row, chunk, total);
    case 2:
      return AddTile<2>(p, row, chunk, total);
    case 3:
      return AddTile<3>(p, row, chunk, total);
    case 4:
      return AddTile<4>(p, row, chunk, total);
    case 5:
      return AddTile<5>(p, row, chunk, total);
    case kTileRows:
      return AddTile<kTileRows>(p, row, chunk, total);
  }
}

// y: [rows, count] of the block's outputs. A chunk of the weight comes from memory while the one
// before is multiplied, and from cache for every tile of rows.
template <int kVectors, typename T, typename Y>
DELTASERVE_AVX512_BF16 void MultiplyBlock(int64_t rows, const BlockProduct<T>& p, Y* y,
                                          int64_t y_stride, int64_t count,
                                          ReadAhead::Share& later) {
  constexpr int64_t kInputs = 4 / sizeof(T);  // of a step
  constexpr int64_t kStepBytes = kVectors * kLanes * 4;
  const int64_t chunk_inputs = p.in <= 1024 ? 512 : 1024;
  // Tiles about as tall as each other, of an even number of rows: odd ones are slower.
  const int64_t pairs = (rows + 1) / 2;
  const int64_t tiles = (2 * pairs + kTileRows - 1) / kTileRows;
  __m512 total[kMaxFewRows][kVectors];
  for (int64_t begin = 0; begin < p.in; begin += chunk_inputs) {
    const int64_t end = std::min(p.in, begin + chunk_inputs);
    // As much as the chunk is, a whole chunk further on, in the next block perhaps; each tile
    // fetches its share.
    const char* next =
        reinterpret_cast<const char*>(p.block + (begin + chunk_inputs) * kVectors * kLanes);
    const int64_t num_steps = (end - begin) / kInputs;
    const int64_t tile_bytes = num_steps * kStepBytes / tiles;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = 2 * (pairs * tile / tiles);
      const int64_t tile_end = std::min(rows, 2 * (pairs * (tile + 1) / tiles));
      const Ahead ahead{next + tile * tile_bytes, kStepBytes / tiles, later.Take(num_steps)};
      const Chunk chunk{begin, end, ahead};
      AddTile(tile_end - row, p, row, chunk, total);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int n = 0; n < kVectors; ++n) {
      const int64_t left = count - n * kLanes;
      if (left > 0) StoreVector(total[r][n], y + r * y_stride + n * kLanes, left);
    }
  }
}

template <typename T, typename Y>
void MultiplyBlocks(const TensorView& x, const BlockedWeight& weight, const TensorView& y,
                    int64_t begin, int64_t end, ReadAhead::Share& ahead) {
  for (int64_t block = begin; block < end; ++block) {
    const BlockProduct<T> product{x.As<const T>(), x.row_stride,
                                  static_cast<const T*>(weight.data) + block * weight.block_size,
                                  x.dim(1)};
    const int64_t first = block * weight.width;
    Y* out = y.As<Y>() + first;
    const int64_t count = std::min(weight.width, y.dim(1) - first);
    switch (weight.width / kLanes) {
      case 1:
        MultiplyBlock<1>(x.dim(0), product, out, y.row_stride, count, ahead);
        break;
      case 2:
        MultiplyBlock<2>(x.dim(0), product, out, y.row_stride, count, ahead);
        break;
      case 3:
        MultiplyBlock<3>(x.dim(0), product, out, y.row_stride, count, ahead);
        break;
      case 4:
        MultiplyBlock<4>(x.dim(0), product, out, y.row_stride, count, ahead);
        break;
    }
  }
}

}  // namespace

BlockedWeight BlockedWeight::From(const dnnl::memory::desc& weight, const void* data) {
  const dnnl_memory_desc_t& desc = weight.data;
  if (desc.format_kind != dnnl_blocked || desc.ndims != 2) return {};
  const dnnl_blocking_desc_t& blocks = desc.format_desc.blocking;
  const bool pairs = desc.data_type == dnnl_bf16;
  const int64_t width = blocks.inner_blks[1];
  const int64_t inner_inputs = blocks.inner_blks[0] * (pairs ? 2 : 1);
  const bool known = blocks.inner_nblks == (pairs ? 3 : 2) && blocks.inner_idxs[0] == 0 &&
                     blocks.inner_idxs[1] == 1 &&
                     (!pairs || (blocks.inner_idxs[2] == 0 && blocks.inner_blks[2] == 2)) &&
                     width % kLanes == 0 && width <= 4 * kLanes &&
                     blocks.strides[0] == inner_inputs * width &&
                     blocks.strides[1] == desc.padded_dims[0] * width;
  return known ? BlockedWeight{data, width, blocks.strides[1]} : BlockedWeight{};
}

void MultiplyFewRows(const TensorView& x, const BlockedWeight& weight, const TensorView& y,
                     int64_t begin, int64_t end, ReadAhead::Share& ahead) {
  VisitDType(x.dtype, [&](auto x_type) {
    VisitDType(y.dtype, [&](auto y_type) {
      MultiplyBlocks<decltype(x_type), decltype(y_type)>(x, weight, y, begin, end, ahead);
    });
  });
}

}  // namespace deltaserve::cpu
