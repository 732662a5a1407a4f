#ifndef DELTASERVE_SERVER_API_CLOCK_H_
#define DELTASERVE_SERVER_API_CLOCK_H_

#include <chrono>

#include "server/api/request.h"

namespace deltaserve {

// Passed in, so that a test can hold time still. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyNs Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  SteadyNs Now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_CLOCK_H_
