// How a call ended: a gRPC status as an absl::Status of the same code and message, with what the
// server said beside it kept as payloads. All functions are pure.
#ifndef DELTASERVE_CLIENT_CPP_CALL_STATUS_H_
#define DELTASERVE_CLIENT_CPP_CALL_STATUS_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "deltaserve/v1/types.pb.h"

namespace deltaserve {

// `context` is that of the call, which must have ended: its trailing metadata is read.
absl::Status ToAbslStatus(const grpc::Status& status, const grpc::ClientContext& context);

// What a call that ended with `status` had used by then. Empty where the server did not say, which
// is so of calls it refused or that ended on this side first (a cancellation, say).
std::optional<v1::Usage> UsageOf(const absl::Status& status);

// The id under which the server's log knows the call; empty where it did not say.
std::string RequestIdOf(const absl::Status& status);

// How long to wait before trying again (google.rpc.RetryInfo); empty where waiting does not help or
// the server did not say.
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_CALL_STATUS_H_
