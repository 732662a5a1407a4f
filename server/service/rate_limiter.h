#ifndef DELTASERVE_SERVER_SERVICE_RATE_LIMITER_H_
#define DELTASERVE_SERVER_SERVICE_RATE_LIMITER_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/api/clock.h"
#include "server/api/mutex.h"
#include "server/api/tenant.h"

namespace deltaserve {

// Holds as much as comes in a minute, and is full at first. Kept as the time at which it will be
// full again, so that a change of its rate needs no care.
class TokenBucket {
 public:
  // Takes that many, or nothing: how long to wait for them, infinite where it never holds as many.
  absl::Duration Take(int64_t count, int64_t per_minute, SteadyNs now);
  void GiveBack(int64_t count, int64_t per_minute);

 private:
  SteadyNs full_at_ = 0;
};

// Requests and tokens of each tenant by the minute. Thread-safe.
class RateLimiter {
 public:
  explicit RateLimiter(const Clock* clock) : clock_(clock) {}

  // Counts a request that may take `tokens`. RESOURCE_EXHAUSTED, with a retry hint: that is more
  // than the tenant's rates have room for, and nothing is counted.
  absl::Status Admit(const Tenant& tenant, int64_t tokens);

  // Of an admitted request's tokens, those that it did not take.
  void GiveBack(const Tenant& tenant, int64_t tokens);

 private:
  struct Buckets {
    TokenBucket requests;
    TokenBucket tokens;
  };

  const Clock* const clock_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, Buckets> tenants_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_RATE_LIMITER_H_
