// The ops that move rows about: embedding, gathering, copying.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_ROWS_ONCE
#define DELTASERVE_KERNELS_CPU_ROWS_ONCE
namespace deltaserve::cpu {

// The id at `t - back` in the sequence of token t; -1 before position 0.
inline int32_t TokenBefore(const EmbedParams& p, int64_t t, int64_t back) {
  const int32_t sequence = p.batch.sequence_of.As<int32_t>()[t];
  const int64_t before_run = back - (t - p.batch.query_offsets.As<int32_t>()[sequence]);
  if (before_run > 0) {
    return p.left_tokens.Row<int32_t>(sequence)[p.left_tokens.dim(1) - before_run];
  }
  const int32_t id = p.token_ids.As<int32_t>()[t - back];
  if (id >= 0) return id;
  return p.last_ids.As<int32_t>()[p.batch.state_slot.As<int32_t>()[sequence]];
}

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

template <typename T>
void WidenRow(const T* row, int64_t d, float* x) {
  ForVectors(d,
             [&](int64_t i, auto extent) HWY_ATTR { Store(Load(row + i, extent), x + i, extent); });
}

// X_j of one token over its K_e last embeddings; null rows lie before position 0.
template <typename T>
void ConvolveToken(const TensorView& conv, const T* const* rows, float* x) {
  const int64_t num_taps = conv.dim(0), d_v = conv.dim(1), d = conv.dim(2);
  for (int64_t j = 0; j < d_v; ++j) {
    ForVectors(d, [&](int64_t i, auto extent) HWY_ATTR {
      Vec sum = hn::Zero(kFloat);
      for (int64_t s = 0; s < num_taps; ++s) {
        if (rows[s] == nullptr) continue;
        const Vec weight = Load(conv.Row<float>(s) + j * d + i, extent);
        sum = hn::MulAdd(weight, Load(rows[s] + i, extent), sum);
      }
      Store(sum, x + j * d + i, extent);
    });
  }
}

// scratch: K_e pointers.
void EmbedTokens(const EmbedParams& p, int64_t begin, int64_t end, const void** scratch) {
  const int64_t d_v = p.x.dim(1), d = p.x.dim(2);
  VisitDType(p.wte.dtype, [&](auto type) {
    using T = decltype(type);
    const T** rows = reinterpret_cast<const T**>(scratch);
    for (int64_t t = begin; t < end; ++t) {
      float* x = p.x.Row<float>(t);
      if (!p.conv) {
        const T* row = p.wte.Row<T>(TokenBefore(p, t, 0));
        for (int64_t j = 0; j < d_v; ++j) WidenRow(row, d, x + j * d);
        continue;
      }
      const int64_t num_taps = p.conv.dim(0);
      for (int64_t s = 0; s < num_taps; ++s) {
        const int32_t id = TokenBefore(p, t, num_taps - 1 - s);
        rows[s] = id < 0 ? nullptr : p.wte.Row<T>(id);
      }
      ConvolveToken(p.conv, rows, x);
    }
  });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {
namespace {

HWY_EXPORT(EmbedTokens);

constexpr int64_t kGrainBytes = 64 << 10;  // worth waking a worker for

int64_t RowBytes(const TensorView& view) {
  int64_t bytes = SizeBytes(view.dtype);
  for (int axis = 1; axis < view.shape.rank(); ++axis) bytes *= view.dim(axis);
  return bytes;
}

char* RowData(const TensorView& view, int64_t row) {
  return view.As<char>() + row * view.row_stride * SizeBytes(view.dtype);
}

}  // namespace

void Embed(const EmbedParams& p, Workers& workers) {
  const int64_t num_taps = p.conv ? p.conv.dim(0) : 1;
  workers.ReserveScratch(num_taps * sizeof(void*));
  const auto embed = HWY_DYNAMIC_DISPATCH(EmbedTokens);
  const int64_t grain = kGrainBytes / (num_taps * RowBytes(p.x)) + 1;
  workers.ForRanges(p.batch.num_tokens, grain, [&](int64_t begin, int64_t end, int worker) {
    embed(p, begin, end, workers.Scratch<const void*>(worker));
  });
}

void GatherRows(const GatherRowsParams& p, Workers& workers) {
  const int64_t bytes = RowBytes(p.out);
  const int32_t* rows = p.rows.As<int32_t>();
  workers.ForRanges(p.out.dim(0), kGrainBytes / bytes + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(RowData(p.out, r), RowData(p.x, rows[r]), bytes);
    }
  });
}

void CopyRows(const CopyRowsParams& p, Workers& workers) {
  const int64_t bytes = RowBytes(p.data);
  workers.ForRanges(p.pairs.dim(0), kGrainBytes / bytes + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t m = begin; m < end; ++m) {
      const int32_t* pair = p.pairs.Row<int32_t>(m);
      std::memcpy(RowData(p.data, pair[1]), RowData(p.data, pair[0]), bytes);
    }
  });
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
