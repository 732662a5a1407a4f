#ifndef DELTASERVE_SERVER_API_RETRY_HINT_H_
#define DELTASERVE_SERVER_API_RETRY_HINT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace deltaserve {

// When it helps to try again what was refused with a RESOURCE_EXHAUSTED, where that is not said by
// the code alone: `delay` is the least time to wait, infinite where waiting does not help.
inline absl::Status WithRetryHint(absl::Status status, absl::Duration delay) {
  status.SetPayload("deltaserve/retry-hint",
                    absl::Cord(absl::StrCat(absl::ToInt64Nanoseconds(delay))));
  return status;
}

// Absent: nothing was said.
inline std::optional<absl::Duration> RetryHintOf(const absl::Status& status) {
  const auto payload = status.GetPayload("deltaserve/retry-hint");
  int64_t ns = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &ns)) return std::nullopt;
  // What an infinite duration saturates to.
  if (ns == INT64_MAX) return absl::InfiniteDuration();
  return absl::Nanoseconds(ns);
}

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_RETRY_HINT_H_
