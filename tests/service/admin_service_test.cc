#include "server/service/admin_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "auth/keys_file.h"
#include "deltaserve/v1/admin.grpc.pb.h"
#include "server/api/mutex.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

// Knows one request, "a-1" of acme, and one total; remembers what it was asked.
class FakeLedger final : public UsageReader {
 public:
  void FindTotals(UsageQuery query, Answer<std::vector<UsageTotal>> answer) override {
    {
      MutexLock lock(&mutex_);
      asked_ = query;
    }
    UsageTotal total;
    total.tenant = "acme";
    total.day = absl::CivilDay(2026, 11, 23);
    total.requests = 7;
    total.interrupted = 1;
    total.billed = 500'000'000'000;
    total.absorbed = 250'000'000'000;
    total.usage.prompt_tokens = 99;
    total.usage.device[Phase::kDecode] = {.device_ns = 1'500'000'000, .energy_uj = {}, .cost = 5};
    answer(std::vector<UsageTotal>{total});
  }
  void FindRequest(std::string request_id, std::optional<std::string> tenant,
                   Answer<UsageRecord> answer) override {
    if (request_id != "a-1" || tenant.value_or("acme") != "acme") {
      answer(absl::NotFoundError("no such request"));
      return;
    }
    UsageRecord record;
    record.request_id = request_id;
    record.tenant = "acme";
    record.model = "demo";
    record.opened = absl::FromUnixSeconds(0);
    record.state = UsageRecord::State::kInterrupted;
    record.code = absl::StatusCode::kUnavailable;
    record.reserved = record.billed = 2'000'000'000'000;
    answer(record);
  }

  UsageQuery asked() const {
    MutexLock lock(&mutex_);
    return asked_;
  }

 private:
  mutable Mutex mutex_;
  UsageQuery asked_ ABSL_GUARDED_BY(mutex_);
};

class AdminServiceTest : public testing::Test {
 protected:
  std::string AddKey(const std::string& name, bool admin) {
    v1::KeysFile::Tenant tenant;
    tenant.set_name(name);
    return "Bearer " + deltaserve::AddKey(path_, tenant, admin).value().Text();
  }

  void Start(bool with_keys, UsageReader* ledger) {
    tenants_ = with_keys ? Tenants::Load(path_).value() : std::make_unique<Tenants>();
    auto server = AdminServer::Start("127.0.0.1:0", tenants_.get(), ledger);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::AdminService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  grpc::Status Ask(const std::string& authorization, const v1::GetUsageRequest& request) {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    response_.Clear();
    return stub_->GetUsage(&context, request, &response_);
  }

  TempDir dir_;
  const std::string path_ = dir_ / "keys";
  FakeLedger ledger_;
  std::unique_ptr<Tenants> tenants_;
  std::unique_ptr<AdminServer> server_;
  std::unique_ptr<v1::AdminService::Stub> stub_;
  v1::GetUsageResponse response_;
};

TEST_F(AdminServiceTest, TotalsAsAskedFor) {
  Start(/*with_keys=*/false, &ledger_);
  v1::GetUsageRequest request;
  request.set_model("demo");
  request.set_first_day("2026-11-01");
  request.set_last_day("2026-11-30");
  request.set_by_tenant(true);
  request.set_by_day(true);
  ASSERT_TRUE(Ask("", request).ok());
  EXPECT_EQ(ledger_.asked().model, "demo");
  EXPECT_EQ(ledger_.asked().tenant, std::nullopt);
  EXPECT_EQ(ledger_.asked().first_day, absl::CivilDay(2026, 11, 1));
  EXPECT_EQ(ledger_.asked().last_day, absl::CivilDay(2026, 11, 30));
  EXPECT_TRUE(ledger_.asked().by_tenant && ledger_.asked().by_day && !ledger_.asked().by_model);
  ASSERT_EQ(response_.totals_size(), 1);
  const v1::UsageTotal& total = response_.totals(0);
  EXPECT_EQ(total.tenant(), "acme");
  EXPECT_FALSE(total.has_model());
  EXPECT_EQ(total.day(), "2026-11-23");
  EXPECT_EQ(total.requests(), 7);
  EXPECT_EQ(total.interrupted(), 1);
  EXPECT_EQ(total.billed_usd(), 0.5);
  EXPECT_EQ(total.absorbed_usd(), 0.25);
  EXPECT_EQ(total.usage().prompt_tokens(), 99);
  EXPECT_EQ(total.usage().device_seconds(), 1.5);
}

TEST_F(AdminServiceTest, OneRequest) {
  Start(/*with_keys=*/false, &ledger_);
  v1::GetUsageRequest request;
  request.set_request_id("a-1");
  ASSERT_TRUE(Ask("", request).ok());
  EXPECT_EQ(response_.request().tenant(), "acme");
  EXPECT_EQ(response_.request().opened(), "1970-01-01T00:00:00+00:00");
  EXPECT_FALSE(response_.request().has_closed());
  EXPECT_EQ(response_.request().state(), "interrupted");
  EXPECT_EQ(response_.request().status(), "UNAVAILABLE");
  EXPECT_EQ(response_.request().billed_usd(), 2);
  request.set_request_id("a-2");
  EXPECT_EQ(Ask("", request).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AdminServiceTest, ATenantSeesItselfAlone) {
  const std::string acme = AddKey("acme", false);
  const std::string brand = AddKey("brand", false);
  const std::string admin = AddKey("staff", true);
  Start(/*with_keys=*/true, &ledger_);
  EXPECT_EQ(Ask("", {}).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  ASSERT_TRUE(Ask(brand, {}).ok());
  EXPECT_EQ(ledger_.asked().tenant, "brand");
  v1::GetUsageRequest other;
  other.set_tenant("acme");
  EXPECT_EQ(Ask(brand, other).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  ASSERT_TRUE(Ask(acme, other).ok());
  ASSERT_TRUE(Ask(admin, other).ok());
  EXPECT_EQ(ledger_.asked().tenant, "acme");
  ASSERT_TRUE(Ask(admin, {}).ok());
  EXPECT_EQ(ledger_.asked().tenant, std::nullopt);

  v1::GetUsageRequest request;
  request.set_request_id("a-1");
  EXPECT_TRUE(Ask(acme, request).ok());
  EXPECT_TRUE(Ask(admin, request).ok());
  EXPECT_EQ(Ask(brand, request).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AdminServiceTest, MalformedRequestsNameTheField) {
  Start(/*with_keys=*/false, &ledger_);
  v1::GetUsageRequest request;
  request.set_last_day("yesterday");
  const grpc::Status status = Ask("", request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("last_day: \"yesterday\" is not a day"));
}

TEST_F(AdminServiceTest, WithoutALedgerThereIsNothing) {
  Start(/*with_keys=*/false, nullptr);
  const grpc::Status status = Ask("", {});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("--ledger"));
}

TEST_F(AdminServiceTest, AnAddressInUseIsAnError) {
  Start(/*with_keys=*/false, nullptr);
  EXPECT_TRUE(absl::IsUnavailable(
      AdminServer::Start(server_->address(), tenants_.get(), nullptr).status()));
}

}  // namespace
}  // namespace deltaserve
