#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/boundary.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_BOUNDARY_ONCE
#define DELTASERVE_KERNELS_CPU_BOUNDARY_ONCE
namespace deltaserve::cpu {

// Consecutive tokens of one sequence, crossed by one worker one after the other. A run of tokens is
// cut in several when the read looks back (kTime); elsewhere the cuts mean nothing.
struct BoundarySpan {
  int64_t begin = 0, end = 0;
  int64_t warm_up = 0;             // tokens before begin whose state is recomputed for its taps
  const float* tail_in = nullptr;  // [K-1, d] left by the tokens before the first; null: zero
  float* tail_out = nullptr;       // where to leave it in turn; null: another span does
};

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

using Write = BoundaryParams::Write;
using Read = BoundaryParams::Read;
using Target = BoundaryParams::Target;

float Sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

// The boundary of one token at a time: T is the dtype of c, kChannels is d_v.
template <typename T, int kChannels>
class TokenCrossing {
 public:
  // scratch: K * d floats, with K = 1 unless the read is kTime.
  TokenCrossing(const BoundaryParams& p, const float* beta, const float* v, float* scratch)
      : p_(p),
        beta_(beta),
        v_(v),
        d_(p.src.dim(2)),
        num_taps_(p.read == Read::kTime ? p.read_weight.dim(0) : 1),
        x_in_(scratch),
        tail_(scratch + d_) {}

  void Cross(const BoundarySpan& span) {
    const int64_t tail_size = (num_taps_ - 1) * d_;
    if (span.tail_in != nullptr) {
      std::copy_n(span.tail_in, tail_size, tail_);
    } else {
      std::fill_n(tail_, tail_size, 0.0f);
    }
    for (int64_t t = span.begin - span.warm_up; t < span.begin; ++t) CrossToken<false>(t);
    for (int64_t t = span.begin; t < span.end; ++t) CrossToken<true>(t);
    if (span.tail_out != nullptr) std::copy_n(tail_, tail_size, span.tail_out);
  }

 private:
  struct Sums {
    Vec square;             // of x_in
    Vec gate;               // x_in * norm_weight * beta_weight
    Vec target[kChannels];  // x_in * v_weight
  };

  const float* Plane(const TensorView& view, int64_t t, int j) const {
    return view.Row<float>(t) + j * d_;
  }

  // step_[j] such that X_j += step_[j] h.
  void ComputeSteps(int64_t t, bool emit) {
    const float* h = p_.h.Row<float>(t);
    Vec square = hn::Zero(kFloat);
    Vec dot[kChannels];
    for (int j = 0; j < kChannels; ++j) dot[j] = hn::Zero(kFloat);
    ForVectors(d_, [&](int64_t i, auto extent) HWY_ATTR {
      const Vec h_i = Load(h + i, extent);
      square = hn::MulAdd(h_i, h_i, square);
      for (int j = 0; j < kChannels; ++j) {
        dot[j] = hn::MulAdd(h_i, Load(Plane(p_.src, t, j) + i, extent), dot[j]);
      }
    });
    const float inverse_length = 1.0f / std::sqrt(Sum(square) + p_.k_eps * p_.k_eps);
    for (int j = 0; j < kChannels; ++j) {
      const float projection = Sum(dot[j]) * inverse_length;
      step_[j] = beta_[t] * (v_[t * kChannels + j] - projection) * inverse_length;
      if (emit && p_.proj) p_.proj.Row<float>(t)[j] = projection;
    }
  }

  // Entries [i, i + kLanes) of X after the write; kStore: also in dst.
  template <bool kStore, typename Extent>
  HWY_INLINE void UpdateState(int64_t t, int64_t i, Extent extent, Vec* x) const {
    for (int j = 0; j < kChannels; ++j) x[j] = Load(Plane(p_.src, t, j) + i, extent);
    if (p_.write == Write::kNone) return;
    const Vec h = Load(p_.h.Row<float>(t) + i, extent);
    for (int j = 0; j < kChannels; ++j) {
      x[j] = hn::MulAdd(hn::Set(kFloat, step_[j]), h, x[j]);
      if constexpr (kStore) Store(x[j], p_.dst.Row<float>(t) + j * d_ + i, extent);
    }
  }

  // sum + weight[0] x_0 + weight[d] x_1 + ...
  template <typename Extent>
  HWY_INLINE Vec AddRead(Vec sum, const float* weight, const Vec* x, Extent extent) const {
    for (int j = 0; j < kChannels; ++j) {
      sum = hn::MulAdd(Load(weight + j * d_, extent), x[j], sum);
    }
    return sum;
  }

  template <typename Extent>
  HWY_INLINE Vec ReadState(int64_t i, Extent extent, const Vec* x) const {
    if (p_.read == Read::kIdentity) return x[0];
    const float* weight = p_.read_weight.As<float>() + i;
    if (p_.read == Read::kChannels) return AddRead(hn::Zero(kFloat), weight, x, extent);
    // Row m of the tail is owed to the token m + 1 ahead: pay the current one, move up, and add
    // this token's share to each.
    Vec sums[2] = {hn::Zero(kFloat), hn::Zero(kFloat)};
    for (int64_t ahead = 0; ahead < num_taps_; ++ahead) {
      const Vec before =
          ahead == num_taps_ - 1 ? hn::Zero(kFloat) : Load(tail_ + ahead * d_ + i, extent);
      const float* tap = weight + (num_taps_ - 1 - ahead) * kChannels * d_;
      sums[ahead > 0] = AddRead(before, tap, x, extent);
      if (ahead > 0) Store(sums[1], tail_ + (ahead - 1) * d_ + i, extent);
    }
    return sums[0];
  }

  template <bool kEmit>
  void CrossToken(int64_t t) {
    if (p_.write == Write::kDelta) {
      ComputeSteps(t, kEmit);
    } else {
      std::fill_n(step_, kChannels, 1.0f);
    }
    float* x_in = p_.x_in && kEmit ? p_.x_in.Row<float>(t) : x_in_;
    const bool has_gate = static_cast<bool>(p_.beta_weight);
    const bool has_target = p_.target == Target::kSigmoid || p_.target == Target::kLinear;
    Sums sums;
    sums.square = sums.gate = hn::Zero(kFloat);
    for (int j = 0; j < kChannels; ++j) sums.target[j] = hn::Zero(kFloat);

    ForVectors(d_, [&](int64_t i, auto extent) HWY_ATTR {
      Vec x[kChannels];
      UpdateState<kEmit>(t, i, extent, x);
      const Vec read = ReadState(i, extent, x);
      if constexpr (kEmit) {
        Store(read, x_in + i, extent);
        sums.square = hn::MulAdd(read, read, sums.square);
        if (has_gate) {
          const Vec weight = hn::Mul(Load(p_.norm_weight.As<float>() + i, extent),
                                     Load(p_.beta_weight.As<float>() + i, extent));
          sums.gate = hn::MulAdd(read, weight, sums.gate);
        }
        if (has_target) {
          for (int j = 0; j < kChannels; ++j) {
            const Vec weight = Load(p_.v_weight.As<float>() + j * d_ + i, extent);
            sums.target[j] = hn::MulAdd(read, weight, sums.target[j]);
          }
        }
      }
    });
    if constexpr (kEmit) Emit(t, x_in, sums, has_gate);
  }

  void Emit(int64_t t, const float* x_in, const Sums& sums, bool has_gate) {
    const float mean_square = Sum(sums.square) / static_cast<float>(d_);
    const float scale = 1.0f / std::sqrt(mean_square + p_.norm_eps);
    T* c = p_.c.Row<T>(t);
    ForVectors(d_, [&](int64_t i, auto extent) HWY_ATTR {
      const Vec scaled = hn::Mul(Load(x_in + i, extent), hn::Set(kFloat, scale));
      Store(hn::Mul(scaled, Load(p_.norm_weight.As<float>() + i, extent)), c + i, extent);
    });
    if (has_gate) {
      p_.beta.As<float>()[t] = 2.0f * Sigmoid(scale * Sum(sums.gate) + p_.beta_bias);
    }
    if (p_.target == Target::kNone) return;
    float* v = p_.v.Row<float>(t);
    for (int j = 0; j < kChannels; ++j) {
      if (p_.target == Target::kConstant) {
        v[j] = p_.v_constant;
        continue;
      }
      const float u = Sum(sums.target[j]) + p_.v_bias.As<float>()[j];
      v[j] = p_.target == Target::kSigmoid ? p_.v_scale * Sigmoid(u) : u;
    }
  }

  const BoundaryParams& p_;
  const float* beta_;  // [T], as it was before the call
  const float* v_;     // [T, d_v], as it was before the call
  const int64_t d_;
  const int64_t num_taps_;
  float* x_in_;  // [d]
  float* tail_;  // [K-1, d]
  float step_[kChannels];
};

template <typename T, int kChannels>
void CrossSpan(const BoundaryParams& p, const BoundarySpan& span, const float* beta, const float* v,
               float* scratch) {
  TokenCrossing<T, kChannels>(p, beta, v, scratch).Cross(span);
}

template <typename T>
void CrossSpanOfType(const BoundaryParams& p, const BoundarySpan& span, const float* beta,
                     const float* v, float* scratch) {
  switch (p.src.dim(1)) {
    case 1:
      return CrossSpan<T, 1>(p, span, beta, v, scratch);
    case 2:
      return CrossSpan<T, 2>(p, span, beta, v, scratch);
    case 3:
      return CrossSpan<T, 3>(p, span, beta, v, scratch);
    case 4:
      return CrossSpan<T, 4>(p, span, beta, v, scratch);
    case 5:
      return CrossSpan<T, 5>(p, span, beta, v, scratch);
    case 6:
      return CrossSpan<T, 6>(p, span, beta, v, scratch);
    case 7:
      return CrossSpan<T, 7>(p, span, beta, v, scratch);
    case kMaxValueChannels:
      return CrossSpan<T, kMaxValueChannels>(p, span, beta, v, scratch);
  }
}

void CrossSpanOfAnyType(const BoundaryParams& p, const BoundarySpan& span, const float* beta,
                        const float* v, float* scratch) {
  VisitDType(p.c.dtype,
             [&](auto type) { CrossSpanOfType<decltype(type)>(p, span, beta, v, scratch); });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {
namespace {

HWY_EXPORT(CrossSpanOfAnyType);

// State entries that are worth waking a worker for.
constexpr int64_t kGrain = 8192;

// The batch's tokens cut into equal ranges, one a worker, and those into spans at the ends of runs.
struct TimeReadPlan {
  std::vector<std::vector<BoundarySpan>> ranges;
  // Tails of runs that several ranges share, as they were: the last range may finish first.
  std::vector<std::vector<float>> old_tails;
  bool recomputes = false;  // a span reads tokens of the range before it
};

TimeReadPlan PlanTimeRead(const BoundaryParams& p, int64_t num_ranges) {
  const int64_t taps_before = p.read_weight.dim(0) - 1;
  const int64_t tail_size = taps_before * p.src.dim(2);
  const int32_t* offsets = p.batch.query_offsets.As<int32_t>();
  const int32_t* slots = p.batch.state_slot.As<int32_t>();
  const auto range_begin = [&](int64_t n) { return p.batch.num_tokens * n / num_ranges; };

  TimeReadPlan plan;
  plan.ranges.resize(num_ranges);
  int64_t range = 0;
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    const int64_t run_begin = offsets[s], run_end = offsets[s + 1];
    if (run_begin == run_end) continue;
    while (range_begin(range + 1) <= run_begin) ++range;
    float* slot = taps_before > 0 ? p.tails.Row<float>(slots[s]) : nullptr;
    const float* old_tail = slot;
    if (p.batch.positions.As<int32_t>()[run_begin] == 0) {
      old_tail = nullptr;
    } else if (range_begin(range + 1) < run_end && slot != nullptr) {
      old_tail = plan.old_tails.emplace_back(slot, slot + tail_size).data();
    }
    for (int64_t begin = run_begin; begin < run_end;) {
      BoundarySpan span;
      span.begin = begin;
      span.end = std::min(run_end, range_begin(range + 1));
      span.warm_up = std::min(taps_before, begin - run_begin);
      if (begin - span.warm_up == run_begin) span.tail_in = old_tail;
      if (span.end == run_end) span.tail_out = slot;
      plan.recomputes |= span.warm_up > 0;
      plan.ranges[range].push_back(span);
      begin = span.end;
      if (begin < run_end) ++range;
    }
  }
  return plan;
}

void CrossTimeRead(const BoundaryParams& p, Workers& workers) {
  const int64_t work = p.batch.num_tokens * p.src.dim(1) * p.src.dim(2);
  const int64_t num_ranges =
      std::clamp<int64_t>(std::min(work / kGrain, p.batch.num_tokens), 1, workers.count());
  const TimeReadPlan plan = PlanTimeRead(p, num_ranges);
  const float* beta = p.write_beta.As<float>();
  const float* v = p.write_v.As<float>();
  std::vector<float> old_beta, old_v;
  // The next gate may overwrite the last one's before its neighbour has seen it.
  if (plan.recomputes && p.write == BoundaryParams::Write::kDelta) {
    old_beta.assign(beta, beta + p.batch.num_tokens);
    old_v.assign(v, v + p.batch.num_tokens * p.src.dim(1));
    beta = old_beta.data();
    v = old_v.data();
  }
  const auto cross = HWY_DYNAMIC_DISPATCH(CrossSpanOfAnyType);
  workers.ForRanges(num_ranges, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t range = begin; range < end; ++range) {
      for (const BoundarySpan& span : plan.ranges[range]) {
        cross(p, span, beta, v, workers.Scratch<float>(worker));
      }
    }
  });
}

}  // namespace

void Boundary(const BoundaryParams& p, Workers& workers) {
  const bool reads_back = p.read == BoundaryParams::Read::kTime;
  const int64_t d = p.src.dim(2);
  const int64_t num_taps = reads_back ? p.read_weight.dim(0) : 1;
  workers.ReserveScratch(num_taps * d * sizeof(float));
  if (reads_back) return CrossTimeRead(p, workers);

  const auto cross = HWY_DYNAMIC_DISPATCH(CrossSpanOfAnyType);
  const int64_t grain = kGrain / (p.src.dim(1) * d) + 1;
  workers.ForRanges(p.batch.num_tokens, grain, [&](int64_t begin, int64_t end, int worker) {
    BoundarySpan span;
    span.begin = begin;
    span.end = end;
    cross(p, span, p.write_beta.As<float>(), p.write_v.As<float>(), workers.Scratch<float>(worker));
  });
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
