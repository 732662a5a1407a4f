#ifndef DELTASERVE_BENCH_STOPWATCH_H_
#define DELTASERVE_BENCH_STOPWATCH_H_

#include <chrono>

namespace deltaserve::bench {

// Runs from its making.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_STOPWATCH_H_
