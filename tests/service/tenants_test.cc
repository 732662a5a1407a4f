// Keys, as callers see them.
#include "server/service/tenants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "auth/keys_file.h"
#include "tests/service/test_calls.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;

class TenantsTest : public testing::Test {
 protected:
  // Adds a key to the file; the text says what its tenant may have.
  std::string AddKey(const std::string& name, const v1::KeysFile::Tenant& limits = {},
                     bool admin = false) {
    v1::KeysFile::Tenant tenant = limits;
    tenant.set_name(name);
    return deltaserve::AddKey(path_, tenant, admin).value().Text();
  }

  // How a call that ends at once ends: it has to reach validation to be INVALID_ARGUMENT.
  static grpc::Status Call(TestServer& server, const std::string& authorization,
                           const v1::GenerateRequest& request = {}) {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    v1::GenerateResponse response;
    return server.stub().Generate(&context, request, &response);
  }

  TempDir dir_;
  const std::string path_ = dir_ / "keys";
};

constexpr auto kValid = grpc::StatusCode::INVALID_ARGUMENT;

TEST_F(TenantsTest, OnlyKeysOfTheFileMayCall) {
  const std::string key = AddKey("acme");
  TestServer server({.keys_path = path_});
  EXPECT_EQ(Call(server, "Bearer " + key).error_code(), kValid);
  EXPECT_EQ(Call(server, "bearer " + key).error_code(), kValid);
  const std::vector<std::string> wrong_ones = {"",
                                               key,
                                               "Basic " + key,
                                               "Bearer ",
                                               "Bearer x",
                                               "Bearer " + key + "0",
                                               "Bearer " + key.substr(0, key.size() - 1),
                                               "Bearer 0" + key,
                                               "Bearer " + GenerateApiKey().Text()};
  for (const std::string& wrong : wrong_ones) {
    const grpc::Status status = Call(server, wrong);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << wrong;
    EXPECT_THAT(status.error_message(), HasSubstr("authorization"));
  }
  EXPECT_THAT(server.log(), HasSubstr("tenant=acme"));
  EXPECT_THAT(server.log(), Not(HasSubstr(key)));
}

TEST_F(TenantsTest, EveryMethodWantsAKey) {
  const std::string key = AddKey("acme");
  TestServer server({.keys_path = path_});
  const auto code = [&](auto method, auto request, auto response, bool shown) {
    grpc::ClientContext context;
    if (shown) context.AddMetadata("authorization", "Bearer " + key);
    return (server.stub().*method)(&context, request, &response).error_code();
  };
  using Stub = v1::InferenceService::Stub;
  for (const bool shown : {false, true}) {
    const auto end = [shown](grpc::StatusCode otherwise) {
      return shown ? otherwise : grpc::StatusCode::UNAUTHENTICATED;
    };
    EXPECT_EQ(code(&Stub::Score, v1::ScoreRequest(), v1::ScoreResponse(), shown), end(kValid));
    EXPECT_EQ(code(&Stub::Tokenize, v1::TokenizeRequest(), v1::TokenizeResponse(), shown),
              end(grpc::StatusCode::OK));
    EXPECT_EQ(code(&Stub::Detokenize, v1::DetokenizeRequest(), v1::DetokenizeResponse(), shown),
              end(grpc::StatusCode::OK));
    EXPECT_EQ(code(&Stub::ListModels, v1::ListModelsRequest(), v1::ListModelsResponse(), shown),
              end(grpc::StatusCode::OK));
    EXPECT_EQ(code(&Stub::GetModel, v1::GetModelRequest(), v1::Model(), shown),
              end(grpc::StatusCode::OK));
  }
}

TEST_F(TenantsTest, AModelMayBeDenied) {
  v1::KeysFile::Tenant limits;
  limits.add_models("other");
  const std::string key = AddKey("acme", limits);
  TestServer server({.more_models = {"other"}, .keys_path = path_});
  v1::GenerateRequest request;
  request.set_model("tiny");
  const grpc::Status denied = Call(server, "Bearer " + key, request);
  EXPECT_EQ(denied.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(denied.error_message(), "model: tenant acme may not use tiny");
  request.set_model("other");
  EXPECT_EQ(Call(server, "Bearer " + key, request).error_code(), kValid);
  request.set_model("none");
  EXPECT_EQ(Call(server, "Bearer " + key, request).error_code(), grpc::StatusCode::NOT_FOUND);

  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + key);
  v1::ListModelsResponse models;
  ASSERT_TRUE(server.stub().ListModels(&context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "other");
}

TEST_F(TenantsTest, RatesAreKept) {
  v1::KeysFile::Tenant limits;
  limits.set_requests_per_minute(2);
  limits.set_tokens_per_minute(40);
  const std::string key = AddKey("acme", limits);
  TestServer server({.keys_path = path_});
  v1::GenerateRequest request = GenerateText("abc");
  request.set_max_tokens(30);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + key);
  v1::GenerateResponse response;
  std::future<grpc::Status> first = std::async(
      std::launch::async, [&] { return server.stub().Generate(&context, request, &response); });
  auto [submitted, sink] = server.queue().NextGenerate();
  EXPECT_EQ(submitted.tenant->name, "acme");
  EXPECT_FALSE(submitted.name.empty());
  // 33 of 40 tokens are taken.
  const grpc::Status refused = Call(server, "Bearer " + key, request);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("33 tokens: the tenant's rate is 40"));
  sink->OnSampleDone(0, FinishReason::kStop);
  RequestOutcome outcome;
  outcome.usage.prompt_tokens = 3;
  sink->OnDone(std::move(outcome));
  ASSERT_TRUE(first.get().ok());
  EXPECT_EQ(response.request_id(), submitted.name);
  // All but 3 have come back.
  server.queue().Answer(absl::UnavailableError("enough"));
  EXPECT_EQ(Call(server, "Bearer " + key, request).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Call(server, "Bearer " + key, request).error_message(),
              HasSubstr("request: the tenant's rate is 2"));
}

TEST_F(TenantsTest, KeysAreReadAnew) {
  const std::string old_key = AddKey("acme");
  TestServer server({.keys_path = path_});
  std::remove(path_.c_str());
  const std::string new_key = AddKey("brand");
  const auto any = [](const Tenants::List&) { return absl::OkStatus(); };
  EXPECT_EQ(Call(server, "Bearer " + old_key).error_code(), kValid);
  ASSERT_TRUE(server.tenants().Reload(any).ok());
  EXPECT_EQ(Call(server, "Bearer " + old_key).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call(server, "Bearer " + new_key).error_code(), kValid);

  // What cannot be taken changes nothing.
  std::ofstream(path_) << "tenants {";
  EXPECT_TRUE(absl::IsInvalidArgument(server.tenants().Reload(any)));
  std::remove(path_.c_str());
  EXPECT_TRUE(absl::IsNotFound(server.tenants().Reload(any)));
  AddKey("third");
  EXPECT_FALSE(server.tenants()
                   .Reload([](const Tenants::List&) { return absl::InvalidArgumentError("no"); })
                   .ok());
  EXPECT_EQ(Call(server, "Bearer " + new_key).error_code(), kValid);
}

TEST_F(TenantsTest, TenantsAreWhatTheFileSays) {
  std::ofstream(path_)
      << "tenants { name: 'a' models: 'm' requests_per_minute: 5"
         " budget { usd: '2.5' period: 'month' } }"
         "tenants { name: 'b' tokens_per_minute: 6 budget { usd: '1' period: 'day' } }"
         "tenants { name: 'c' budget { usd: '1' period: 'total' } }";
  const auto tenants = (*Tenants::Load(path_))->tenants();
  ASSERT_EQ(tenants.size(), 3);
  EXPECT_EQ(tenants[0]->name, "a");
  EXPECT_TRUE(tenants[0]->MayUse("m"));
  EXPECT_FALSE(tenants[0]->MayUse("n"));
  EXPECT_EQ(tenants[0]->requests_per_minute, 5);
  EXPECT_EQ(tenants[0]->tokens_per_minute, std::nullopt);
  EXPECT_EQ(tenants[0]->budget, (Budget{2'500'000'000'000, Budget::Period::kMonth}));
  EXPECT_EQ(tenants[1]->tokens_per_minute, 6);
  EXPECT_EQ(tenants[1]->budget->period, Budget::Period::kDay);
  EXPECT_EQ(tenants[2]->budget->period, Budget::Period::kTotal);
}

TEST_F(TenantsTest, WithoutKeysEverybodyIsTheDefaultTenant) {
  const Tenants tenants;
  const auto caller = tenants.Authenticate({});
  ASSERT_TRUE(caller.ok());
  EXPECT_EQ(caller->tenant->name, "default");
  EXPECT_TRUE(caller->admin);
}

}  // namespace
}  // namespace deltaserve
