// How far numbers are from those of a fixture.
#ifndef DELTASERVE_TESTS_GOLDEN_ERRORS_H_
#define DELTASERVE_TESTS_GOLDEN_ERRORS_H_

#include <cstdint>
#include <vector>

namespace deltaserve {

class Errors {
 public:
  // Both of one length, which is checked.
  void Add(const std::vector<float>& actual, const std::vector<float>& expected);
  double max() const { return max_; }
  double rms() const;

 private:
  double max_ = 0;
  double sum_of_squares_ = 0;
  int64_t count_ = 0;
};

// Natural-log probability of tokens[1..], given their logits [T, V].
double LogLikelihood(const std::vector<float>& logits, const std::vector<int32_t>& tokens);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_GOLDEN_ERRORS_H_
