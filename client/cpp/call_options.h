#ifndef DELTASERVE_CLIENT_CPP_CALL_OPTIONS_H_
#define DELTASERVE_CLIENT_CPP_CALL_OPTIONS_H_

#include <stop_token>
#include <string>

#include "absl/time/time.h"

namespace deltaserve {

// Of one call.
struct CallOptions {
  // From now to the deadline, which the server knows and keeps. A call past it ends with
  // DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::InfiniteDuration();
  // Stopping its source, from any thread, ends the call with CANCELLED.
  std::stop_token cancellation = {};
  // The key, ID.SECRET, that says who calls; empty: none is shown. Without TLS whoever is on the
  // way can read it.
  std::string api_key = {};
};

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_CALL_OPTIONS_H_
