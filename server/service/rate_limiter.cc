#include "server/service/rate_limiter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/api/retry_hint.h"

namespace deltaserve {
namespace {

constexpr SteadyNs kMinute = 60'000'000'000;

// In which so many come; counts above what a minute brings are never asked for.
SteadyNs TimeOf(int64_t count, int64_t per_minute) {
  return static_cast<SteadyNs>(static_cast<double>(kMinute) * static_cast<double>(count) /
                               static_cast<double>(per_minute));
}

absl::Status Refusal(const char* what, int64_t per_minute, const char* unit, absl::Duration delay) {
  return WithRetryHint(absl::ResourceExhaustedError(
                           absl::StrCat(what, ": the tenant's rate is ", per_minute, " ", unit)),
                       delay);
}

}  // namespace

absl::Duration TokenBucket::Take(int64_t count, int64_t per_minute, SteadyNs now) {
  if (count > per_minute) return absl::InfiniteDuration();
  const SteadyNs full_at = std::max(full_at_, now) + TimeOf(count, per_minute);
  if (full_at > now + kMinute) return absl::Nanoseconds(full_at - kMinute - now);
  full_at_ = full_at;
  return absl::ZeroDuration();
}

void TokenBucket::GiveBack(int64_t count, int64_t per_minute) {
  full_at_ -= TimeOf(std::min(count, per_minute), per_minute);
}

absl::Status RateLimiter::Admit(const Tenant& tenant, int64_t tokens) {
  if (!tenant.requests_per_minute && !tenant.tokens_per_minute) return absl::OkStatus();
  const SteadyNs now = clock_->Now();
  MutexLock lock(&mutex_);
  Buckets& buckets = tenants_[tenant.name];
  if (tenant.tokens_per_minute) {
    const absl::Duration delay = buckets.tokens.Take(tokens, *tenant.tokens_per_minute, now);
    if (delay > absl::ZeroDuration()) {
      return Refusal(absl::StrCat(tokens, " tokens").c_str(), *tenant.tokens_per_minute,
                     "tokens a minute", delay);
    }
  }
  if (tenant.requests_per_minute) {
    const absl::Duration delay = buckets.requests.Take(1, *tenant.requests_per_minute, now);
    if (delay > absl::ZeroDuration()) {
      if (tenant.tokens_per_minute) buckets.tokens.GiveBack(tokens, *tenant.tokens_per_minute);
      return Refusal("request", *tenant.requests_per_minute, "requests a minute", delay);
    }
  }
  return absl::OkStatus();
}

void RateLimiter::GiveBack(const Tenant& tenant, int64_t tokens) {
  if (!tenant.tokens_per_minute || tokens <= 0) return;
  MutexLock lock(&mutex_);
  tenants_[tenant.name].tokens.GiveBack(tokens, *tenant.tokens_per_minute);
}

}  // namespace deltaserve
