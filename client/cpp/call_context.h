#ifndef DELTASERVE_CLIENT_CPP_CALL_CONTEXT_H_
#define DELTASERVE_CLIENT_CPP_CALL_CONTEXT_H_

#include <grpcpp/client_context.h>

#include <algorithm>
#include <functional>
#include <stop_token>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cpp/call_options.h"

namespace deltaserve {

// The gRPC context of one call, set up as its options say. Internal to this library.
class CallContext {
 public:
  explicit CallContext(const CallOptions& options)
      : on_stop_(options.cancellation, [this] { grpc_.TryCancel(); }) {
    // gRPC takes times before 1970 for the infinite future.
    const absl::Duration timeout = std::max(options.timeout, absl::ZeroDuration());
    grpc_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    if (!options.api_key.empty()) grpc_.AddMetadata("authorization", "Bearer " + options.api_key);
  }

  grpc::ClientContext& grpc() { return grpc_; }

 private:
  grpc::ClientContext grpc_;
  std::stop_callback<std::function<void()>> on_stop_;  // refers to grpc_, so is destroyed before it
};

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_CALL_CONTEXT_H_
