#include "server/service/status_mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deltaserve/v1/status_details.pb.h"
#include "server/api/retry_hint.h"

namespace deltaserve {
namespace {

TEST(StatusMappingTest, ContractsCodesPassUnchanged) {
  for (const absl::Status& status :
       {absl::CancelledError("m"), absl::InvalidArgumentError("m"),
        absl::DeadlineExceededError("m"), absl::NotFoundError("m"),
        absl::ResourceExhaustedError("m"), absl::UnavailableError("m"),
        absl::UnauthenticatedError("m"), absl::PermissionDeniedError("m")}) {
    EXPECT_EQ(PublicStatus(status, "id-1"), status);
    const grpc::Status mapped = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(mapped.error_code()), static_cast<int>(status.code()));
    EXPECT_EQ(mapped.error_message(), "m");
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(StatusMappingTest, AnythingElseIsInternalAndNamesTheRequestOnly) {
  for (const absl::Status& status :
       {absl::InternalError("secret"), absl::UnknownError("secret"),
        absl::FailedPreconditionError("secret"), absl::OutOfRangeError("secret")}) {
    const absl::Status mapped = PublicStatus(status, "id-1");
    EXPECT_EQ(mapped.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(mapped.message()), testing::HasSubstr("id-1"));
    EXPECT_THAT(std::string(mapped.message()), testing::Not(testing::HasSubstr("secret")));
  }
}

TEST(StatusMappingTest, ExhaustionSaysWhenToRetry) {
  const grpc::Status mapped = ToGrpcStatus(absl::ResourceExhaustedError("queue full"));
  v1::StatusDetails details;
  ASSERT_TRUE(details.ParseFromString(mapped.error_details()));
  EXPECT_EQ(details.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(details.message(), "queue full");
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  v1::RetryInfo retry;
  ASSERT_TRUE(retry.ParseFromString(details.details(0).value()));
  EXPECT_EQ(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000,
            kRetryDelayMs);
  EXPECT_TRUE(ToGrpcStatus(absl::UnavailableError("")).error_details().empty());
}

TEST(StatusMappingTest, ARetryHintIsTakenOver) {
  const auto exhausted = [](absl::Duration delay) {
    return ToGrpcStatus(WithRetryHint(absl::ResourceExhaustedError("rate"), delay));
  };
  v1::StatusDetails details;
  ASSERT_TRUE(details.ParseFromString(exhausted(absl::Milliseconds(61'250)).error_details()));
  v1::RetryInfo retry;
  ASSERT_TRUE(retry.ParseFromString(details.details(0).value()));
  EXPECT_EQ(retry.retry_delay().seconds(), 61);
  EXPECT_EQ(retry.retry_delay().nanos(), 250'000'000);
  EXPECT_TRUE(exhausted(absl::InfiniteDuration()).error_details().empty());
}

}  // namespace
}  // namespace deltaserve
