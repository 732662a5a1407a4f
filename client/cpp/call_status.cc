#include "client/cpp/call_status.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "deltaserve/v1/status_details.pb.h"

namespace deltaserve {
namespace {

constexpr absl::string_view kUsagePayload = "type.googleapis.com/deltaserve.v1.Usage";
constexpr absl::string_view kRequestIdPayload = "deltaserve/request-id";
constexpr absl::string_view kRetryInfoPayload = "type.googleapis.com/google.rpc.RetryInfo";

std::optional<std::string> TrailingMetadata(const grpc::ClientContext& context, const char* key) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  return std::string(found->second.data(), found->second.size());
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return absl::OkStatus();
  // Both count the canonical codes of google.rpc.Code.
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  if (auto usage = TrailingMetadata(context, "deltaserve-usage-bin")) {
    result.SetPayload(kUsagePayload, absl::Cord(*usage));
  }
  if (auto request_id = TrailingMetadata(context, "deltaserve-request-id")) {
    result.SetPayload(kRequestIdPayload, absl::Cord(*request_id));
  }
  v1::StatusDetails details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return result;
}

std::optional<v1::Usage> UsageOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kUsagePayload);
  v1::Usage usage;
  if (!payload || !usage.ParseFromString(std::string(*payload))) return std::nullopt;
  return usage;
}

std::string RequestIdOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRequestIdPayload);
  return payload ? std::string(*payload) : std::string();
}

std::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryInfoPayload);
  v1::RetryInfo retry;
  if (!payload || !retry.ParseFromString(std::string(*payload))) return std::nullopt;
  return absl::Seconds(retry.retry_delay().seconds()) +
         absl::Nanoseconds(retry.retry_delay().nanos());
}

}  // namespace deltaserve
