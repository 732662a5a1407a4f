#include "server/service/server_tls.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "client/cpp/client.h"
#include "client/cpp/tls_credentials.h"
#include "deltaserve/v1/admin.grpc.pb.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/service/admin_service.h"
#include "server/service/grpc_server.h"
#include "tests/service/test_server.h"
#include "tests/support/certificates.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Trusts `ca`'s servers; shows the certificate of `stem` where there is one.
std::shared_ptr<grpc::ChannelCredentials> Caller(const CertificateAuthority& ca,
                                                 const std::string& stem = "") {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(ca.cert());
  if (!stem.empty()) {
    options.pem_cert_chain = ReadFile(stem + ".pem");
    options.pem_private_key = ReadFile(stem + ".key");
  }
  return grpc::SslCredentials(options);
}

// Over a connection of its own.
std::shared_ptr<grpc::Channel> Connect(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

grpc::StatusCode ListModels(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  return v1::InferenceService::NewStub(channel)->ListModels(&context, {}, &response).error_code();
}

class ServerTlsTest : public testing::Test {
 protected:
  void Start(const TlsFiles& files) {
    auto credentials = MakeTlsServerCredentials(files);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    auto server = GrpcServer::Start("127.0.0.1:0",
                                    {.models = &models_,
                                     .clock = &clock_,
                                     .observer = &observer_,
                                     .log = nullptr,
                                     .tenants = &tenants_},
                                    {}, *credentials);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto admin = AdminServer::Start("127.0.0.1:0", &tenants_, nullptr, *credentials);
    ASSERT_TRUE(admin.ok()) << admin.status();
    admin_ = *std::move(admin);
  }

  grpc::StatusCode Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return ListModels(Connect(server_->address(), credentials));
  }

  grpc::StatusCode CallAdmin(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ClientContext context;
    v1::GetUsageResponse response;
    return v1::AdminService::NewStub(Connect(admin_->address(), credentials))
        ->GetUsage(&context, {}, &response)
        .error_code();
  }

  TempDir dir_;
  const CertificateAuthority ca_{dir_.path(), "ca"};
  const CertificateAuthority other_ca_{dir_.path(), "other-ca"};
  const std::string stem_ = ca_.Issue("server");
  const ModelRegistry models_{{}};
  SteadyClock clock_;
  RecordingObserver observer_;
  const Tenants tenants_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<AdminServer> admin_;
};

constexpr grpc::StatusCode kRefused = grpc::StatusCode::UNAVAILABLE;
// Of GetUsage where there is no ledger: it was heard.
constexpr grpc::StatusCode kNoLedger = grpc::StatusCode::FAILED_PRECONDITION;

TEST_F(ServerTlsTest, CallersWhoTrustItsAuthorityAreServedAlone) {
  Start({.cert = stem_ + ".pem", .key = stem_ + ".key", .client_ca = ""});
  EXPECT_EQ(Call(Caller(ca_)), grpc::StatusCode::OK);
  EXPECT_EQ(CallAdmin(Caller(ca_)), kNoLedger);
  EXPECT_EQ(Call(Caller(other_ca_)), kRefused);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), kRefused);
  EXPECT_EQ(CallAdmin(grpc::InsecureChannelCredentials()), kRefused);
}

TEST_F(ServerTlsTest, ACallersCertificateMustBeOfTheAuthority) {
  Start({.cert = stem_ + ".pem", .key = stem_ + ".key", .client_ca = ca_.cert()});
  EXPECT_EQ(Call(Caller(ca_, ca_.Issue("caller"))), grpc::StatusCode::OK);
  EXPECT_EQ(CallAdmin(Caller(ca_, dir_ / "caller")), kNoLedger);
  const std::string stranger = other_ca_.Issue("stranger");
  EXPECT_EQ(Call(Caller(ca_, stranger)), kRefused);
  EXPECT_EQ(CallAdmin(Caller(ca_, stranger)), kRefused);
  EXPECT_EQ(Call(Caller(ca_)), kRefused);
  EXPECT_EQ(CallAdmin(Caller(ca_)), kRefused);
}

TEST_F(ServerTlsTest, TheClientLibraryConnects) {
  Start({.cert = stem_ + ".pem", .key = stem_ + ".key", .client_ca = ca_.cert()});
  const std::string caller = ca_.Issue("caller");
  const auto status_with = [this](const ClientTlsFiles& files) {
    auto credentials = MakeTlsCredentials(files);
    if (!credentials.ok()) return credentials.status();
    return Client::Connect(server_->address(), {.credentials = *credentials, .retry = false})
        .CheckHealth();
  };
  const ClientTlsFiles good = {.ca = ca_.cert(), .cert = caller + ".pem", .key = caller + ".key"};
  EXPECT_TRUE(status_with(good).ok()) << status_with(good);
  EXPECT_TRUE(absl::IsUnavailable(status_with({.ca = ca_.cert()})));
  ClientTlsFiles files = good;
  files.ca = dir_ / "nowhere";
  EXPECT_THAT(std::string(status_with(files).message()), HasSubstr(files.ca));
  files = good;
  files.key = "";
  EXPECT_TRUE(absl::IsInvalidArgument(status_with(files)));
}

TEST_F(ServerTlsTest, ANewCertificateIsUsedWithoutARestart) {
  Start({.cert = stem_ + ".pem", .key = stem_ + ".key", .client_ca = ""});
  const auto before = Connect(server_->address(), Caller(ca_));
  ASSERT_EQ(ListModels(before), grpc::StatusCode::OK);
  EXPECT_EQ(Call(Caller(other_ca_)), kRefused);

  const std::string renewed = other_ca_.Issue("renewed");
  std::filesystem::rename(renewed + ".key", stem_ + ".key");
  std::filesystem::rename(renewed + ".pem", stem_ + ".pem");
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (Call(Caller(other_ca_)) != grpc::StatusCode::OK) {
    ASSERT_LT(std::chrono::steady_clock::now(), patience);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(Call(Caller(ca_)), kRefused);
  EXPECT_EQ(ListModels(before), grpc::StatusCode::OK);
}

TEST_F(ServerTlsTest, WhatCannotBeUsedIsNamed) {
  const auto error_of = [](const TlsFiles& files) {
    return std::string(MakeTlsServerCredentials(files).status().message());
  };
  const TlsFiles good = {.cert = stem_ + ".pem", .key = stem_ + ".key", .client_ca = ca_.cert()};
  EXPECT_EQ(error_of(good), "");
  const std::string other = ca_.Issue("other");
  const std::string nowhere = dir_ / "nowhere";

  TlsFiles files = good;
  files.cert = nowhere;
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("--tls-cert: "), HasSubstr(nowhere)));
  files.cert = good.key;
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("--tls-cert: there is no"), HasSubstr(good.key)));

  files = good;
  files.key = nowhere;
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("--tls-key: "), HasSubstr(nowhere)));
  files.key = good.cert;
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("--tls-key: there is no"), HasSubstr(good.cert)));
  files.key = other + ".key";
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("is not the key of"), HasSubstr(files.key)));

  files = good;
  files.client_ca = good.key;
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("--tls-client-ca: "), HasSubstr(good.key)));
}

}  // namespace
}  // namespace deltaserve
