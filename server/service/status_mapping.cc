#include "server/service/status_mapping.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "deltaserve/v1/status_details.pb.h"
#include "server/api/retry_hint.h"

namespace deltaserve {

absl::Status PublicStatus(const absl::Status& status, absl::string_view request_id) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnavailable:
      return status;
    default:
      return absl::InternalError(absl::StrCat("internal error; request ", request_id));
  }
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());  // the same numbers
  const std::string message(status.message());
  const absl::Duration delay = RetryHintOf(status).value_or(absl::Milliseconds(kRetryDelayMs));
  if (status.code() != absl::StatusCode::kResourceExhausted || delay == absl::InfiniteDuration()) {
    return grpc::Status(code, message);
  }
  v1::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
  v1::StatusDetails details;
  details.set_code(code);
  details.set_message(message);
  google::protobuf::Any* detail = details.add_details();
  detail->set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  detail->set_value(retry.SerializeAsString());
  return grpc::Status(code, message, details.SerializeAsString());
}

}  // namespace deltaserve
