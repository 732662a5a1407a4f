// Cheap random numbers, the same on every machine.
#ifndef DELTASERVE_TESTS_SUPPORT_RANDOM_SOURCE_H_
#define DELTASERVE_TESTS_SUPPORT_RANDOM_SOURCE_H_

#include <cstdint>
#include <initializer_list>
#include <iterator>

namespace deltaserve {

// SplitMix64 (Steele et al. 2014): a counter, mixed.
class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // Near enough to a standard normal number: the sum of four uniform ones.
  float Normal() {
    const uint64_t bits = Bits();
    const auto sum = static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                          (bits >> 32 & 0xffff) + (bits >> 48));
    constexpr float kScale = 1.7320508f / 65536;  // variance of the sum: 4/12 of 2^32
    return static_cast<float>(sum - 131070) * kScale;
  }

  float Uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(Bits() >> 40) * 0x1p-24f;
  }
  int64_t Integer(int64_t low, int64_t high) {  // both included
    return low + static_cast<int64_t>(Bits() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(float probability) { return Uniform(0, 1) < probability; }

  template <typename T>
  T Pick(std::initializer_list<T> choices) {
    return *std::next(choices.begin(), Integer(0, static_cast<int64_t>(choices.size()) - 1));
  }

 private:
  uint64_t state_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_RANDOM_SOURCE_H_
