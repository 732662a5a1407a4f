#ifndef DELTASERVE_CLIENT_CLI_PLOT_SCALE_H_
#define DELTASERVE_CLIENT_CLI_PLOT_SCALE_H_

#include <cmath>

namespace deltaserve::cli {

// The distance of grid lines: 1, 2 or 5 times a power of ten, so that some five of them reach
// `most`, which is above 0.
inline double GridStep(double most) {
  const double rough = most / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= rough) return digit * power;
  }
  return 10 * power;
}

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_PLOT_SCALE_H_
