#include "server/telemetry/apportion.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/numeric/int128.h"

namespace deltaserve {
namespace {

// In UInt, which holds total · weight and the sum of the weights.
template <typename UInt>
std::vector<int64_t> ApportionIn(int64_t total, absl::Span<const int64_t> weights,
                                 absl::Span<const uint64_t> keys) {
  const size_t count = weights.size();
  UInt sum = 0;
  for (const int64_t weight : weights) sum += static_cast<UInt>(weight);
  const bool equal = sum == 0;
  if (equal) sum = count;

  std::vector<int64_t> parts(count);
  std::vector<UInt> remainders(count);
  int64_t left = total;
  for (size_t i = 0; i < count; ++i) {
    const UInt product = static_cast<UInt>(total) * static_cast<UInt>(equal ? 1 : weights[i]);
    const UInt part = product / sum;
    parts[i] = static_cast<int64_t>(part);
    remainders[i] = product - part * sum;
    left -= parts[i];
  }

  // The remainders add up to `left` sums, each being less than one: left < count.
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](size_t a, size_t b) {
    return remainders[a] != remainders[b] ? remainders[a] > remainders[b] : keys[a] < keys[b];
  };
  std::nth_element(order.begin(), order.begin() + left, order.end(), before);
  for (int64_t i = 0; i < left; ++i) ++parts[order[i]];
  return parts;
}

}  // namespace

std::vector<int64_t> Apportion(int64_t total, absl::Span<const int64_t> weights,
                               absl::Span<const uint64_t> keys) {
  const int64_t heaviest = *std::max_element(weights.begin(), weights.end());
  // Division in 64 bits is many times faster than in 128, and suffices for most steps.
  const int64_t most = std::max(total, static_cast<int64_t>(weights.size()));
  const bool fits = heaviest <= std::numeric_limits<int64_t>::max() / std::max<int64_t>(most, 1);
  return fits ? ApportionIn<uint64_t>(total, weights, keys)
              : ApportionIn<absl::uint128>(total, weights, keys);
}

}  // namespace deltaserve
