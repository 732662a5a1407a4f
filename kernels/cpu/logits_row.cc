#include "kernels/cpu/logits_row.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/logits_row.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_LOGITS_ROW_ONCE
#define DELTASERVE_KERNELS_CPU_LOGITS_ROW_ONCE
namespace deltaserve::cpu {

// Entries whose maximum and whose sum of weights are kept.
inline constexpr int64_t kChunk = 64;

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The maximum of each chunk. Returns whether every logit is finite.
bool FindMaxima(const float* logits, int64_t vocab, float* maxima) {
  const hn::RebindToSigned<FloatTag> integer;
  auto largest = hn::Zero(integer);  // magnitude, as bits: they are ordered like the numbers
  for (int64_t begin = 0; begin < vocab; begin += kChunk) {
    Vec max = hn::Set(kFloat, -kInfinity);
    ForVectors(std::min(kChunk, vocab - begin), [&](int64_t i, auto extent) HWY_ATTR {
      const Vec z = Load(logits + begin + i, extent);
      largest = hn::Max(largest, hn::BitCast(integer, hn::Abs(z)));
      if constexpr (std::is_same_v<decltype(extent), Part>) {
        const auto seen = hn::FirstN(kFloat, static_cast<size_t>(extent.count));
        max = hn::Max(max, hn::IfThenElse(seen, z, hn::Set(kFloat, -kInfinity)));
      } else {
        max = hn::Max(max, z);
      }
    });
    *maxima++ = hn::GetLane(hn::MaxOfLanes(kFloat, max));
  }
  const float magnitude = hn::GetLane(hn::BitCast(kFloat, hn::MaxOfLanes(integer, largest)));
  return magnitude < kInfinity;
}

// Weights and their sum by chunk.
void ExpChunks(const float* logits, int64_t vocab, float max, float temperature, float min_weight,
               float* weights, double* sums) {
  const Vec shift = hn::Set(kFloat, max);
  const Vec divisor = hn::Set(kFloat, temperature);
  const Vec least = hn::Set(kFloat, min_weight);
  for (int64_t begin = 0; begin < vocab; begin += kChunk) {
    Vec sum = hn::Zero(kFloat);
    ForVectors(std::min(kChunk, vocab - begin), [&](int64_t i, auto extent) HWY_ATTR {
      const Vec z = hn::Sub(Load(logits + begin + i, extent), shift);
      Vec weight = Exp(hn::Div(z, divisor));
      weight = hn::IfThenElseZero(hn::Ge(weight, least), weight);
      if constexpr (std::is_same_v<decltype(extent), Part>) {
        const auto seen = hn::FirstN(kFloat, static_cast<size_t>(extent.count));
        weight = hn::IfThenElseZero(seen, weight);
      }
      Store(weight, weights + begin + i, extent);
      sum = hn::Add(sum, weight);
    });
    *sums++ = Sum(sum);
  }
}

// The weights of logits not below the threshold, summed. Chunks whose maximum is below are skipped.
double SumAtLeast(const float* logits, const float* weights, const float* maxima, int64_t vocab,
                  float threshold) {
  const Vec least = hn::Set(kFloat, threshold);
  double total = 0;
  for (int64_t begin = 0; begin < vocab; begin += kChunk) {
    if (*maxima++ < threshold) continue;
    Vec sum = hn::Zero(kFloat);
    ForVectors(std::min(kChunk, vocab - begin), [&](int64_t i, auto extent) HWY_ATTR {
      const auto kept = hn::Ge(Load(logits + begin + i, extent), least);
      sum = hn::Add(sum, hn::IfThenElseZero(kept, Load(weights + begin + i, extent)));
    });
    total += Sum(sum);
  }
  return total;
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {

HWY_EXPORT(FindMaxima);
HWY_EXPORT(ExpChunks);
HWY_EXPORT(SumAtLeast);

namespace {

// Integers in the order of the numbers, and back.
int32_t OrderOf(float value) {
  const int32_t bits = std::bit_cast<int32_t>(value);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}
float FromOrder(int32_t order) {
  return std::bit_cast<float>(order < 0 ? order ^ 0x7fffffff : order);
}

}  // namespace

int64_t LogitsRow::ScratchBytes(int64_t vocab) {
  const int64_t num_chunks = (vocab + kChunk - 1) / kChunk;
  return num_chunks * (sizeof(double) + 2 * sizeof(float)) +
         vocab * (sizeof(float) + sizeof(int32_t));
}

LogitsRow::LogitsRow(const float* logits, int64_t vocab, void* scratch)
    : logits_(logits),
      vocab_(vocab),
      num_chunks_((vocab + kChunk - 1) / kChunk),
      chunk_sums_(static_cast<double*>(scratch)),
      weights_(reinterpret_cast<float*>(chunk_sums_ + num_chunks_)),
      chunk_maxima_(weights_ + vocab),
      ranked_maxima_(chunk_maxima_ + num_chunks_),
      candidates_(reinterpret_cast<int32_t*>(ranked_maxima_ + num_chunks_)) {
  finite_ = HWY_DYNAMIC_DISPATCH(FindMaxima)(logits, vocab, chunk_maxima_);
  max_ = *std::max_element(chunk_maxima_, chunk_maxima_ + num_chunks_);
}

int32_t LogitsRow::ArgMax() const {
  const int64_t chunk = std::find(chunk_maxima_, chunk_maxima_ + num_chunks_, max_) - chunk_maxima_;
  const float* end = logits_ + vocab_;
  return static_cast<int32_t>(std::find(logits_ + chunk * kChunk, end, max_) - logits_);
}

absl::Span<const int32_t> LogitsRow::Top(int64_t count) const {
  // `count` chunks hold an entry at least as high as the lowest of the `count` highest maxima, so
  // all of the top does. Few others are as high.
  float threshold = -std::numeric_limits<float>::infinity();
  if (count > 0 && count < num_chunks_) {
    std::copy_n(chunk_maxima_, num_chunks_, ranked_maxima_);
    float* lowest = ranked_maxima_ + count - 1;
    std::nth_element(ranked_maxima_, lowest, ranked_maxima_ + num_chunks_, std::greater<>());
    threshold = *lowest;
  }
  int32_t* end = candidates_;
  for (int64_t chunk = 0; chunk < num_chunks_; ++chunk) {
    if (chunk_maxima_[chunk] < threshold) continue;
    const int64_t chunk_end = std::min(vocab_, (chunk + 1) * kChunk);
    for (int64_t id = chunk * kChunk; id < chunk_end; ++id) {
      if (logits_[id] >= threshold) *end++ = static_cast<int32_t>(id);
    }
  }
  const auto better = [this](int32_t a, int32_t b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  };
  std::partial_sort(candidates_, candidates_ + count, end, better);
  return absl::MakeConstSpan(candidates_, count);
}

double LogitsRow::ComputeWeights(float temperature, float min_weight) const {
  HWY_DYNAMIC_DISPATCH(ExpChunks)
  (logits_, vocab_, max_, temperature, min_weight, weights_, chunk_sums_);
  return std::accumulate(chunk_sums_, chunk_sums_ + num_chunks_, 0.0);
}

double LogitsRow::KeepNucleus(double target, float temperature, float min_weight) const {
  const auto sum_at_least = [&](int32_t order) {
    return HWY_DYNAMIC_DISPATCH(SumAtLeast)(logits_, weights_, chunk_maxima_, vocab_,
                                            FromOrder(order));
  };
  // The highest threshold whose sum reaches the target. Weights further down are zero.
  int32_t reaches = OrderOf(max_ - 105.0f * temperature), beyond = OrderOf(max_) + 1;
  while (beyond - static_cast<int64_t>(reaches) > 1) {
    const auto middle = static_cast<int32_t>((static_cast<int64_t>(reaches) + beyond) / 2);
    (sum_at_least(middle) >= target ? reaches : beyond) = middle;
  }
  const float threshold = FromOrder(reaches);
  double reached = beyond > OrderOf(max_) ? 0 : sum_at_least(beyond);

  double total = 0;
  for (int64_t chunk = 0; chunk < num_chunks_; ++chunk) {
    const int64_t end = std::min(vocab_, (chunk + 1) * kChunk);
    double sum = 0;
    for (int64_t id = chunk * kChunk; id < end; ++id) {
      const float weight = weights_[id];
      bool kept = logits_[id] > threshold;
      if (logits_[id] == threshold && (reached < target || reached == 0)) {
        reached += weight;
        kept = true;
      }
      weights_[id] = kept && weight >= min_weight ? weight : 0;
      sum += weights_[id];
    }
    chunk_sums_[chunk] = sum;
    total += sum;
  }
  return total;
}

int32_t LogitsRow::Invert(double target) const {
  double reached = 0;
  int64_t chunk = 0;
  while (chunk < num_chunks_ - 1 && reached + chunk_sums_[chunk] <= target) {
    reached += chunk_sums_[chunk++];
  }
  for (int64_t id = chunk * kChunk; id < vocab_; ++id) {
    reached += weights_[id];
    if (reached > target) return static_cast<int32_t>(id);
  }
  int64_t last = vocab_ - 1;
  while (last > 0 && weights_[last] == 0) --last;
  return static_cast<int32_t>(last);
}

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
