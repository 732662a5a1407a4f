#include "tests/golden/errors.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace deltaserve {

void Errors::Add(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(double{actual[i]} - expected[i]);
    if (!(error <= max_)) max_ = error;  // NaN sticks
    sum_of_squares_ += error * error;
  }
  count_ += actual.size();
}

double Errors::rms() const { return std::sqrt(sum_of_squares_ / count_); }

double LogLikelihood(const std::vector<float>& logits, const std::vector<int32_t>& tokens) {
  const int64_t vocab = logits.size() / tokens.size();
  double loglik = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const float* row = logits.data() + t * vocab;
    const double largest = *std::max_element(row, row + vocab);
    double sum = 0;
    for (int64_t id = 0; id < vocab; ++id) sum += std::exp(row[id] - largest);
    loglik += row[tokens[t + 1]] - largest - std::log(sum);
  }
  return loglik;
}

}  // namespace deltaserve
