#ifndef DELTASERVE_SERVER_SERVICE_STATUS_MAPPING_H_
#define DELTASERVE_SERVER_SERVICE_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace deltaserve {

// How long a caller is told to wait before it tries again where nothing else is said.
inline constexpr int kRetryDelayMs = 1000;

// The status as a caller may see it: codes that are none of the contract's (docs/api.md) are our
// bug, INTERNAL, whose message gives nothing away but the request id, under which the log has the
// rest.
absl::Status PublicStatus(const absl::Status& status, absl::string_view request_id);

// RESOURCE_EXHAUSTED carries a google.rpc.RetryInfo: the delay that its retry hint says
// (api/retry_hint.h), or kRetryDelayMs where it has none; nothing where waiting does not help.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_STATUS_MAPPING_H_
