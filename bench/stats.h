#ifndef DELTASERVE_BENCH_STATS_H_
#define DELTASERVE_BENCH_STATS_H_

#include <algorithm>
#include <vector>

namespace deltaserve::bench {

// The mean of the middle two where their number is even; 0 of nothing.
inline double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_STATS_H_
