#include <algorithm>
#include <cmath>
#include <vector>

#include "hwy/cache_control.h"
#include "kernels/cpu/boundary_plan.h"
#include "kernels/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/boundary.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_BOUNDARY_ONCE
#define DELTASERVE_KERNELS_CPU_BOUNDARY_ONCE
namespace deltaserve::cpu {

// Tokens of a span that a worker takes across together where the read looks back: its weights are
// more than the first-level cache holds, and are fetched once for all of them.
inline constexpr int64_t kGroupTokens = 8;

// Floats of scratch: x_in of a group, the tail between groups, and one vector of the tail within.
inline int64_t BoundaryScratch(int64_t d, int64_t num_taps) {
  return kGroupTokens * d + (num_taps - 1) * (d + 16);
}

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

using Write = BoundaryParams::Write;
using Read = BoundaryParams::Read;
using Target = BoundaryParams::Target;

alignas(64) constexpr float kZeros[kLanes] = {};

float Sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

// Takes the tokens of spans across the boundary: T is the dtype of c, kChannels is d_v.
template <typename T, int kChannels>
class Crossing {
 public:
  Crossing(const BoundaryParams& p, const float* beta, const float* v, float* scratch)
      : p_(p),
        beta_(beta),
        v_(v),
        d_(p.src.dim(2)),
        num_taps_(p.read == Read::kTime ? p.read_weight.dim(0) : 1),
        group_tokens_(p.read == Read::kTime ? kGroupTokens : 1),
        streams_(Streams(p)),
        x_in_(scratch),
        tail_(x_in_ + kGroupTokens * d_),
        window_(tail_ + (num_taps_ - 1) * d_) {}

  void Cross(const BoundarySpan* begin, const BoundarySpan* end) {
    for (const BoundarySpan* span = begin; span != end; ++span) {
      for (int64_t t = span->begin - span->warm_up; t < span->end; ++t) {
        if (num_tokens_ == group_tokens_) CrossGroup();
        AddToken(*span, t);
      }
      CrossGroup();
    }
    if (streams_) hwy::FlushStream();
  }

 private:
  struct Token {
    int64_t t;
    bool emits;  // false: only recomputed for the tokens after it
    const float* x;
    float* x_out;  // null: not written
    const float* h;
    float* x_in;
    // Rows of the tail before and after the token, for the vector at entry i: at tail + i *
    // tail_step + row * tail_stride.
    const float* tail_in;
    int64_t tail_in_step, tail_in_stride;
    float* tail_out;
    int64_t tail_out_step, tail_out_stride;
    float step[kChannels];  // X_j += step[j] h
  };

  struct Sums {
    Vec square;             // of x_in
    Vec gate;               // x_in * norm_weight * beta_weight
    Vec target[kChannels];  // x_in * v_weight
  };

  // A state apart from its source, and too large for the caches to keep until it is read, goes
  // around them: else memory would be read only to be overwritten.
  static bool Streams(const BoundaryParams& p) {
    constexpr int64_t kTooLargeBytes = int64_t{4} << 20;
    const bool aligned = reinterpret_cast<uintptr_t>(p.dst.data) % 64 == 0;
    const int64_t size = p.src.dim(0) * p.src.dim(1) * p.src.dim(2);
    return p.dst.data != p.src.data && aligned && p.src.dim(2) % kLanes == 0 &&
           size * static_cast<int64_t>(sizeof(float)) >= kTooLargeBytes;
  }

  void AddToken(const BoundarySpan& span, int64_t t) {
    const int64_t n = num_tokens_++;
    Token& token = tokens_[n];
    token.t = t;
    token.emits = t >= span.begin;
    token.x = p_.src.Row<float>(t);
    const bool writes = p_.write != Write::kNone;
    token.h = writes ? p_.h.Row<float>(t) : nullptr;
    token.x_out = writes && token.emits ? p_.dst.Row<float>(t) : nullptr;
    token.x_in = token.emits && p_.x_in ? p_.x_in.Row<float>(t) : x_in_ + n * d_;
    std::fill_n(token.step, kChannels, 1.0f);

    // Between tokens of a group a vector of the tail stays in the window.
    token.tail_in = token.tail_out = window_;
    token.tail_in_step = token.tail_out_step = 0;
    token.tail_in_stride = token.tail_out_stride = kLanes;
    if (t == span.begin - span.warm_up) {
      if (span.tail_in != nullptr) {
        SetTailIn(token, span.tail_in);
      } else {
        token.tail_in = kZeros;
        token.tail_in_stride = 0;
      }
    } else if (n == 0) {
      SetTailIn(token, tail_);
    }
    if (t == span.end - 1 && span.tail_out != nullptr) {
      SetTailOut(token, span.tail_out);
    } else if (n == group_tokens_ - 1) {
      SetTailOut(token, tail_);
    }
  }
  void SetTailIn(Token& token, const float* tail) const {
    token.tail_in = tail;
    token.tail_in_step = 1;
    token.tail_in_stride = d_;
  }
  void SetTailOut(Token& token, float* tail) const {
    token.tail_out = tail;
    token.tail_out_step = 1;
    token.tail_out_stride = d_;
  }

  void CrossGroup() {
    for (int64_t n = 0; n < num_tokens_; ++n) {
      if (p_.write == Write::kDelta) ComputeSteps(tokens_[n]);
    }
    WriteAndRead();
    for (int64_t n = 0; n < num_tokens_; ++n) {
      if (tokens_[n].emits) Emit(tokens_[n]);
    }
    num_tokens_ = 0;
  }

  // The loops below keep what they use in locals: to the compiler a stored vector may change any
  // member.

  HWY_FLATTEN void ComputeSteps(Token& token) const {
    const float* const h = token.h;
    const float* const x = token.x;
    const int64_t d = d_;
    Vec square = hn::Zero(kFloat);
    Vec dot[kChannels];
    for (int j = 0; j < kChannels; ++j) dot[j] = hn::Zero(kFloat);
    ForVectors(d, [&](int64_t i, auto extent) HWY_ATTR {
      const Vec h_i = Load(h + i, extent);
      square = hn::MulAdd(h_i, h_i, square);
      for (int j = 0; j < kChannels; ++j) {
        dot[j] = hn::MulAdd(h_i, Load(x + j * d + i, extent), dot[j]);
      }
    });
    const float inverse_length = 1.0f / std::sqrt(Sum(square) + p_.k_eps * p_.k_eps);
    for (int j = 0; j < kChannels; ++j) {
      const float projection = Sum(dot[j]) * inverse_length;
      token.step[j] = beta_[token.t] * (v_[token.t * kChannels + j] - projection) * inverse_length;
      if (token.emits && p_.proj) p_.proj.Row<float>(token.t)[j] = projection;
    }
  }

  // X after the write, and x_in, of the whole group.
  HWY_FLATTEN void WriteAndRead() {
    const Read read = p_.read;
    const bool streams = streams_;
    const int64_t d = d_, num_taps = num_taps_, num_tokens = num_tokens_;
    const int64_t next_group = num_tokens * kChannels * d;
    const float* const read_weight = p_.read_weight.As<float>();
    const float* const newest_tap = read_weight + (num_taps - 1) * kChannels * d;
    ForVectors(d, [&](int64_t i, auto extent) HWY_ATTR {
      for (const Token* token = tokens_; token != tokens_ + num_tokens; ++token) {
        Vec x[kChannels];
        for (int j = 0; j < kChannels; ++j) {
          const float* from = token->x + j * d + i;
          x[j] = Load(from, extent);
          __builtin_prefetch(from + next_group, /*rw=*/0, /*locality=*/2);
        }
        if (token->h != nullptr) {
          const Vec h = Load(token->h + i, extent);
          __builtin_prefetch(token->h + i + num_tokens * d, /*rw=*/0, /*locality=*/2);
          for (int j = 0; j < kChannels; ++j) {
            x[j] = hn::MulAdd(hn::Set(kFloat, token->step[j]), h, x[j]);
          }
        }
        if (float* const out = token->x_out; out != nullptr) {
          for (int j = 0; j < kChannels; ++j) {
            if (streams) {
              hn::Stream(x[j], kFloat, out + j * d + i);
            } else {
              Store(x[j], out + j * d + i, extent);
            }
          }
        }
        Vec sum = x[0];
        if (read == Read::kChannels) {
          sum = AddRead(hn::Zero(kFloat), read_weight + i, d, x, extent);
        } else if (read == Read::kTime) {
          sum = ReadTime(newest_tap + i, num_taps, d, *token, i, x, extent);
        }
        Store(sum, token->x_in + i, extent);
      }
    });
  }

  // sum + weight[0] x_0 + weight[d] x_1 + ...
  template <typename Extent>
  static HWY_INLINE Vec AddRead(Vec sum, const float* weight, int64_t d, const Vec* x,
                                Extent extent) {
    for (int j = 0; j < kChannels; ++j) {
      sum = hn::MulAdd(Load(weight + j * d, extent), x[j], sum);
    }
    return sum;
  }

  // Row m of the tail is owed to the token m + 1 ahead: pay the current one, move up, and add
  // this token's share to each.
  template <typename Extent>
  static HWY_INLINE Vec ReadTime(const float* newest_tap, int64_t num_taps, int64_t d,
                                 const Token& token, int64_t i, const Vec* x, Extent extent) {
    const float* in = token.tail_in + i * token.tail_in_step;
    float* out = token.tail_out + i * token.tail_out_step;
    const int64_t in_stride = token.tail_in_stride, out_stride = token.tail_out_stride;
    Vec current = hn::Zero(kFloat);
    for (int64_t ahead = 0; ahead < num_taps; ++ahead) {
      const bool newest = ahead == num_taps - 1;
      const Vec before = newest ? hn::Zero(kFloat) : Load(in + ahead * in_stride, extent);
      const Vec sum = AddRead(before, newest_tap - ahead * kChannels * d, d, x, extent);
      if (ahead == 0) {
        current = sum;
      } else {
        Store(sum, out + (ahead - 1) * out_stride, extent);
      }
    }
    return current;
  }

  // What is made of x_in: the norm, and the next gate and target.
  HWY_FLATTEN void Emit(const Token& token) const {
    const int64_t d = d_;
    const float* const x_in = token.x_in;
    const float* const norm_weight = p_.norm_weight.As<float>();
    const float* const gate_weight = p_.beta_weight.As<float>();
    const bool has_gate = static_cast<bool>(p_.beta_weight);
    const bool has_target = p_.target == Target::kSigmoid || p_.target == Target::kLinear;
    const float* const target_weight = p_.v_weight.As<float>();
    Sums sums;
    sums.square = sums.gate = hn::Zero(kFloat);
    for (int j = 0; j < kChannels; ++j) sums.target[j] = hn::Zero(kFloat);
    ForVectors(d, [&](int64_t i, auto extent) HWY_ATTR {
      const Vec x = Load(x_in + i, extent);
      sums.square = hn::MulAdd(x, x, sums.square);
      if (has_gate) {
        const Vec weight = hn::Mul(Load(norm_weight + i, extent), Load(gate_weight + i, extent));
        sums.gate = hn::MulAdd(x, weight, sums.gate);
      }
      if (has_target) {
        for (int j = 0; j < kChannels; ++j) {
          sums.target[j] = hn::MulAdd(x, Load(target_weight + j * d + i, extent), sums.target[j]);
        }
      }
    });

    const float mean_square = Sum(sums.square) / static_cast<float>(d);
    const float scale = 1.0f / std::sqrt(mean_square + p_.norm_eps);
    T* const c = p_.c.Row<T>(token.t);
    ForVectors(d, [&](int64_t i, auto extent) HWY_ATTR {
      const Vec scaled = hn::Mul(Load(x_in + i, extent), hn::Set(kFloat, scale));
      Store(hn::Mul(scaled, Load(norm_weight + i, extent)), c + i, extent);
    });
    if (has_gate) {
      p_.beta.As<float>()[token.t] = 2.0f * Sigmoid(scale * Sum(sums.gate) + p_.beta_bias);
    }
    if (p_.target == Target::kNone) return;
    float* v = p_.v.Row<float>(token.t);
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
  const int64_t group_tokens_;
  const bool streams_;
  float* x_in_;    // [kGroupTokens, d]
  float* tail_;    // [K-1, d]
  float* window_;  // [K-1, kLanes]
  Token tokens_[kGroupTokens];
  int64_t num_tokens_ = 0;
};

template <typename T, int kChannels>
void CrossSpans(const BoundaryParams& p, const BoundarySpan* begin, const BoundarySpan* end,
                const float* beta, const float* v, float* scratch) {
  Crossing<T, kChannels>(p, beta, v, scratch).Cross(begin, end);
}

template <typename T>
void CrossSpansOfType(const BoundaryParams& p, const BoundarySpan* begin, const BoundarySpan* end,
                      const float* beta, const float* v, float* scratch) {
  switch (p.src.dim(1)) {
    case 1:
      return CrossSpans<T, 1>(p, begin, end, beta, v, scratch);
    case 2:
      return CrossSpans<T, 2>(p, begin, end, beta, v, scratch);
    case 3:
      return CrossSpans<T, 3>(p, begin, end, beta, v, scratch);
    case 4:
      return CrossSpans<T, 4>(p, begin, end, beta, v, scratch);
    case 5:
      return CrossSpans<T, 5>(p, begin, end, beta, v, scratch);
    case 6:
      return CrossSpans<T, 6>(p, begin, end, beta, v, scratch);
    case 7:
      return CrossSpans<T, 7>(p, begin, end, beta, v, scratch);
    case kMaxValueChannels:
      return CrossSpans<T, kMaxValueChannels>(p, begin, end, beta, v, scratch);
  }
}

void CrossSpansOfAnyType(const BoundaryParams& p, const BoundarySpan* begin,
                         const BoundarySpan* end, const float* beta, const float* v,
                         float* scratch) {
  VisitDType(p.c.dtype,
             [&](auto type) { CrossSpansOfType<decltype(type)>(p, begin, end, beta, v, scratch); });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {
namespace {

HWY_EXPORT(CrossSpansOfAnyType);

// State entries that are worth waking a worker for.
constexpr int64_t kGrain = 8192;

// The next boundary's tails, after what is on the list for the next Attention.
void ReadAheadOf(const BoundaryParams& p, Workers& workers) {
  constexpr int64_t kLeastRows = 16;  // as in attention.cc
  if (!p.next_tails || p.batch.num_tokens < kLeastRows) return;
  const int32_t* slots = p.batch.state_slot.As<int32_t>();
  const int64_t size_bytes = p.next_tails.dim(1) * p.next_tails.dim(2) * sizeof(float);
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    const int worker = workers.OwnerOf(s, p.batch.num_sequences);
    workers.read_ahead().Add(worker, p.next_tails.Row<float>(slots[s]), size_bytes);
  }
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
  const auto cross = HWY_DYNAMIC_DISPATCH(CrossSpansOfAnyType);
  workers.ForRanges(num_ranges, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t range = begin; range < end; ++range) {
      const std::vector<BoundarySpan>& spans = plan.ranges[range];
      cross(p, spans.data(), spans.data() + spans.size(), beta, v, workers.Scratch<float>(worker));
    }
  });
  ReadAheadOf(p, workers);
}

}  // namespace

void Boundary(const BoundaryParams& p, Workers& workers) {
  const bool reads_back = p.read == BoundaryParams::Read::kTime;
  const int64_t d = p.src.dim(2);
  const int64_t num_taps = reads_back ? p.read_weight.dim(0) : 1;
  workers.ReserveScratch(BoundaryScratch(d, num_taps) * sizeof(float));
  if (reads_back) return CrossTimeRead(p, workers);

  const auto cross = HWY_DYNAMIC_DISPATCH(CrossSpansOfAnyType);
  const int64_t grain = kGrain / (p.src.dim(1) * d) + 1;
  workers.ForRanges(p.batch.num_tokens, grain, [&](int64_t begin, int64_t end, int worker) {
    BoundarySpan span;
    span.begin = begin;
    span.end = end;
    cross(p, &span, &span + 1, p.write_beta.As<float>(), p.write_v.As<float>(),
          workers.Scratch<float>(worker));
  });
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
