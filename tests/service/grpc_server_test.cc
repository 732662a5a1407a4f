#include "server/service/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>

#include "server/service/wire.h"
#include "tests/service/test_calls.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// Waits for the next completion.
void Await(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
}

// A unary call by name, as bytes: there is no header of grpc.health.v1 to include.
grpc::Status CallByName(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                        const std::string& request, std::string* response) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer bytes;
  grpc::Status status;
  call->Finish(&bytes, &status, nullptr);
  Await(queue);
  grpc::Slice whole;
  if (status.ok() && bytes.DumpToSingleSlice(&whole).ok()) {
    response->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
  }
  return status;
}

enum class Serving { kYes, kNo, kUnknownService };

// HealthCheckRequest {string service = 1}, HealthCheckResponse {enum status = 1}.
Serving Check(TestServer& server, const std::string& service) {
  std::string request;
  if (!service.empty()) {
    request = "\x0A";
    request.push_back(static_cast<char>(service.size()));
    request.append(service);
  }
  std::string response;
  const grpc::Status status =
      CallByName(server.channel(), "/grpc.health.v1.Health/Check", request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return Serving::kUnknownService;
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response == "\x08\x01" ? Serving::kYes : Serving::kNo;
}

TEST(GrpcServerTest, HealthOfTheServerAndOfEachModel) {
  TestServer server({.more_models = {"other"}});
  for (const char* service : {"", "tiny", "other", "deltaserve.v1.InferenceService"}) {
    EXPECT_EQ(Check(server, service), Serving::kYes) << service;
  }
  EXPECT_EQ(Check(server, "unknown"), Serving::kUnknownService);
  server.server().health().SetServing(false);
  EXPECT_EQ(Check(server, ""), Serving::kNo);
  EXPECT_EQ(Check(server, "other"), Serving::kNo);
  server.server().health().SetServing(true);
  EXPECT_EQ(Check(server, "tiny"), Serving::kYes);
}

TEST(GrpcServerTest, AnAddressInUseIsAnError) {
  TestServer server;
  const ModelRegistry models({});
  SteadyClock clock;
  RecordingObserver observer;
  const Tenants tenants;
  const auto second = GrpcServer::Start(server.server().address(),
                                        {.models = &models,
                                         .clock = &clock,
                                         .observer = &observer,
                                         .log = nullptr,
                                         .tenants = &tenants},
                                        {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server.server().address()));
}

TEST(GrpcServerTest, ListsItsModels) {
  TestServer server({.more_models = {"other"}});
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  ASSERT_TRUE(server.stub().ListModels(&context, {}, &response).ok());
  ASSERT_THAT(response.models(), SizeIs(2));
  EXPECT_EQ(response.models(0).name(), "tiny");
  EXPECT_EQ(response.models(1).name(), "other");

  grpc::ClientContext context2;
  v1::GetModelRequest request;
  request.set_model("tiny");
  v1::Model model;
  ASSERT_TRUE(server.stub().GetModel(&context2, request, &model).ok());
  EXPECT_EQ(model.residual(), "ddl_cc");
  EXPECT_EQ(model.value_channels(), 4);
  EXPECT_EQ(model.vocab_size(), kVocabSize);
  EXPECT_TRUE(model.has_tokenizer());
  EXPECT_EQ(model.eos_token_id(), kEndOfTextId);
  EXPECT_EQ(model.max_sequence_tokens(), 64);

  grpc::ClientContext context3;
  request.set_model("none");
  EXPECT_EQ(server.stub().GetModel(&context3, request, &model).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST(GrpcServerTest, TokenizesAndBack) {
  TestServer server;
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  request.set_text("é!");
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &tokens).ok());
  EXPECT_THAT(tokens.token_ids(), ElementsAre(0xC3, 0xA9, '!'));
  EXPECT_THAT(tokens.pieces(), ElementsAre("\xC3", "\xA9", "!"));

  grpc::ClientContext context2;
  v1::DetokenizeRequest back;
  for (int32_t id : {257, 258, 0xFF, 259}) back.add_token_ids(id);
  v1::DetokenizeResponse text;
  ASSERT_TRUE(server.stub().Detokenize(&context2, back, &text).ok());
  EXPECT_EQ(text.text(), "world\uFFFD\uFFFD");

  grpc::ClientContext context3;
  back.add_token_ids(260);
  const grpc::Status status = server.stub().Detokenize(&context3, back, &text);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("token_ids[4]"));
}

TEST(GrpcServerTest, WithoutTokenizerNothingIsTokenized) {
  TestServer server({.tokenizer = nullptr});
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  v1::TokenizeResponse tokens;
  const grpc::Status status = server.stub().Tokenize(&context, request, &tokens);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no tokenizer"));
}

// A caller that leaves at once may be gone before its message is here.
TEST(GrpcServerTest, ACallWithoutItsMessageIsCountedCancelled) {
  TestServer server;
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, "/deltaserve.v1.InferenceService/Generate", &queue);
  grpc::Status status;
  call->StartCall(nullptr);
  Await(queue);
  call->WritesDone(nullptr);
  Await(queue);
  call->Finish(&status, nullptr);
  Await(queue);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server.observer().AwaitFinished(1)[0].code, absl::StatusCode::kCancelled);

  PendingGenerate empty(server, v1::GenerateRequest());
  EXPECT_EQ(empty.status.get().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(GrpcServerTest, ShutdownLetsCallsFinishAndRefusesNewOnes) {
  TestServer server;
  PendingGenerate running(server, GenerateText("x"));
  auto [submitted, sink] = server.queue().NextGenerate();
  std::thread shutdown([&] { server.server().Shutdown(absl::InfiniteDuration()); });
  while (Check(server, "") == Serving::kYes) std::this_thread::yield();
  PendingGenerate late(server, GenerateText("x"));
  EXPECT_EQ(late.status.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  sink->OnTokens(0, Tokens("whole"));
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({});
  EXPECT_TRUE(running.status.get().ok());
  EXPECT_EQ(running.response.samples(0).text(), "whole");
  shutdown.join();
}

TEST(GrpcServerTest, ShutdownEndsWhatTakesTooLong) {
  TestServer server;
  PendingGenerate running(server, GenerateText("x"));
  auto [submitted, sink] = server.queue().NextGenerate();
  std::thread shutdown([&] { server.server().Shutdown(absl::Milliseconds(1)); });
  server.queue().AwaitCancel(submitted.id);
  sink->OnDone({.status = absl::CancelledError(""),
                .usage = {.prompt_tokens = 1, .total_ns = 1},
                .score = nullptr});
  const grpc::Status status = running.status.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
  ASSERT_NE(TrailingUsage(running.context), nullptr);
  shutdown.join();
  EXPECT_EQ(server.observer().finished().at(0).code, absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace deltaserve
