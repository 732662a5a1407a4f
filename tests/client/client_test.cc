#include "client/cpp/client.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "deltaserve/v1/status_details.pb.h"
#include "tests/client/fake_server.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Message>
Message Parse(const char* text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

class ClientTest : public ::testing::Test {
 protected:
  // Once the service's answers are set.
  Client Connect() { return Client::Connect(server_.address()); }

  FakeServer server_;
  FakeInferenceService& service_ = server_.service;
};

TEST_F(ClientTest, GenerateSendsTheRequestAndReturnsTheResponse) {
  service_.generate = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                         v1::GenerateResponse& response) {
    response.set_model(request.model());
    response.add_samples()->set_text(request.text() + "!");
    return grpc::Status::OK;
  };
  v1::GenerateRequest request;
  request.set_model("m");
  request.set_text("Hello");

  const auto response = Connect().Generate(request);

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->model(), "m");
  EXPECT_EQ(response->samples(0).text(), "Hello!");
}

TEST_F(ClientTest, AStreamIsReadToItsEnd) {
  service_.generate_stream = [](grpc::ServerContext&, const v1::GenerateRequest&,
                                grpc::ServerWriter<v1::GenerateChunk>& writer) {
    for (const char* text : {"one", " two"}) {
      v1::GenerateChunk chunk;
      chunk.add_samples()->set_text(text);
      writer.Write(chunk);
    }
    return grpc::Status::OK;
  };

  GenerationStream stream = Connect().GenerateStream({});
  std::vector<std::string> texts;
  for (v1::GenerateChunk chunk; stream.Read(&chunk);) texts.push_back(chunk.samples(0).text());

  EXPECT_THAT(texts, ElementsAre("one", " two"));
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(stream.Finish().ok()) << "the status is kept";
  v1::GenerateChunk chunk;
  EXPECT_FALSE(stream.Read(&chunk));
}

TEST_F(ClientTest, ACancelledStreamEndsWithCancelled) {
  service_.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                                grpc::ServerWriter<v1::GenerateChunk>& writer) {
    writer.Write({});
    return AwaitCancellation(context);
  };
  GenerationStream stream = Connect().GenerateStream({});
  v1::GenerateChunk chunk;
  ASSERT_TRUE(stream.Read(&chunk));

  std::thread([&stream] { stream.Cancel(); }).join();

  EXPECT_FALSE(stream.Read(&chunk));
  EXPECT_TRUE(absl::IsCancelled(stream.Finish()));
}

TEST_F(ClientTest, AStreamThatIsDroppedIsCancelledAndMayOutliveItsClient) {
  std::promise<void> gone;
  service_.generate_stream = [&gone](grpc::ServerContext& context, const v1::GenerateRequest&,
                                     grpc::ServerWriter<v1::GenerateChunk>& writer) {
    writer.Write({});
    const grpc::Status status = AwaitCancellation(context);
    gone.set_value();
    return status;
  };
  {
    auto client = std::make_unique<Client>(Connect());
    GenerationStream stream = client->GenerateStream({});
    client.reset();
    GenerationStream moved = std::move(stream);
    v1::GenerateChunk chunk;
    EXPECT_TRUE(moved.Read(&chunk));
  }
  gone.get_future().wait();
}

TEST_F(ClientTest, AStopTokenCancelsAUnaryCall) {
  std::stop_source source;
  service_.score = [&source](grpc::ServerContext& context, const v1::ScoreRequest&,
                             v1::ScoreResponse&) {
    source.request_stop();
    return AwaitCancellation(context);
  };

  const auto response = Connect().Score({}, {.cancellation = source.get_token()});

  EXPECT_TRUE(absl::IsCancelled(response.status())) << response.status();
}

TEST_F(ClientTest, AStopTokenThatIsStoppedAlreadyCancelsTheCall) {
  std::stop_source source;
  source.request_stop();
  const CallOptions options = {.cancellation = source.get_token()};

  EXPECT_TRUE(absl::IsCancelled(Connect().ListModels(options).status()));
  EXPECT_TRUE(absl::IsCancelled(Connect().GenerateStream({}, options).Finish()));
}

TEST_F(ClientTest, TheTimeoutIsTheDeadlineTheServerSees) {
  std::promise<absl::Duration> left;
  service_.list_models = [&left](grpc::ServerContext& context, const v1::ListModelsRequest&,
                                 v1::ListModelsResponse&) {
    left.set_value(absl::FromChrono(context.deadline()) - absl::Now());
    return grpc::Status::OK;
  };

  EXPECT_TRUE(Connect().ListModels({.timeout = absl::Hours(1)}).ok());

  const absl::Duration seen = left.get_future().get();
  EXPECT_GT(seen, absl::Minutes(50));
  EXPECT_LE(seen, absl::Minutes(61));
}

TEST_F(ClientTest, ACallPastItsDeadlineEndsWithDeadlineExceeded) {
  service_.score = [](grpc::ServerContext& context, const v1::ScoreRequest&, v1::ScoreResponse&) {
    return AwaitCancellation(context);
  };
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(Connect().Score({}, {.timeout = absl::Milliseconds(20)}).status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      Connect().Score({}, {.timeout = -absl::InfiniteDuration()}).status()));
}

TEST_F(ClientTest, AnErrorKeepsUsageRequestIdAndRetryDelay) {
  service_.generate = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                         v1::GenerateResponse&) {
    v1::Usage usage;
    usage.set_prompt_tokens(7);
    context.AddTrailingMetadata("deltaserve-usage-bin", usage.SerializeAsString());
    context.AddTrailingMetadata("deltaserve-request-id", "r-1");
    v1::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(1);
    retry.mutable_retry_delay()->set_nanos(500'000'000);
    v1::StatusDetails details;
    auto* detail = details.add_details();
    detail->set_type_url("type.googleapis.com/google.rpc.RetryInfo");
    detail->set_value(retry.SerializeAsString());
    return grpc::Status(grpc::RESOURCE_EXHAUSTED, "the queue is full", details.SerializeAsString());
  };

  const absl::Status status = Connect().Generate({}).status();

  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "the queue is full");
  ASSERT_TRUE(UsageOf(status).has_value());
  EXPECT_EQ(UsageOf(status)->prompt_tokens(), 7);
  EXPECT_EQ(RequestIdOf(status), "r-1");
  EXPECT_EQ(RetryDelayOf(status), absl::Milliseconds(1500));
}

TEST_F(ClientTest, AnErrorWithoutDetailsHasNone) {
  const absl::Status status = Connect().Generate({}).status();

  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_FALSE(UsageOf(status).has_value());
  EXPECT_EQ(RequestIdOf(status), "");
  EXPECT_FALSE(RetryDelayOf(status).has_value());
}

TEST_F(ClientTest, MalformedDetailsAreIgnored) {
  service_.generate = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                         v1::GenerateResponse&) {
    context.AddTrailingMetadata("deltaserve-usage-bin", "\xff\xff");
    return grpc::Status(grpc::INTERNAL, "broken", "\xff\xff");
  };

  const absl::Status status = Connect().Generate({}).status();

  EXPECT_EQ(status.message(), "broken");
  EXPECT_FALSE(UsageOf(status).has_value());
  EXPECT_FALSE(RetryDelayOf(status).has_value());
}

TEST(ClientConnectionTest, NobodyThereIsUnavailable) {
  std::string address;
  {
    FakeServer gone;
    address = gone.address();
  }
  EXPECT_TRUE(absl::IsUnavailable(Client::Connect(address).ListModels().status()));
}

TEST_F(ClientTest, ACallWhoseAnswerHasNotBegunIsTriedAgain) {
  std::atomic<int> attempts = 0;
  service_.generate_stream = [&](grpc::ServerContext&, const v1::GenerateRequest&,
                                 grpc::ServerWriter<v1::GenerateChunk>& writer) {
    if (++attempts < 3) return grpc::Status(grpc::UNAVAILABLE, "draining");
    writer.Write(v1::GenerateChunk());
    return grpc::Status::OK;
  };

  GenerationStream stream = Connect().GenerateStream({});

  v1::GenerateChunk chunk;
  EXPECT_TRUE(stream.Read(&chunk));
  EXPECT_FALSE(stream.Read(&chunk));
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(attempts, 3);
}

TEST_F(ClientTest, AStreamThatHasBegunIsNotTriedAgain) {
  std::atomic<int> attempts = 0;
  service_.generate_stream = [&](grpc::ServerContext&, const v1::GenerateRequest&,
                                 grpc::ServerWriter<v1::GenerateChunk>& writer) {
    ++attempts;
    writer.Write(v1::GenerateChunk());
    return grpc::Status(grpc::UNAVAILABLE, "killed");
  };

  GenerationStream stream = Connect().GenerateStream({});

  v1::GenerateChunk chunk;
  EXPECT_TRUE(stream.Read(&chunk));
  EXPECT_FALSE(stream.Read(&chunk));
  EXPECT_EQ(stream.Finish(), absl::UnavailableError("killed"));
  EXPECT_EQ(attempts, 1);
}

TEST_F(ClientTest, NothingIsTriedAgainWithoutRetry) {
  std::atomic<int> attempts = 0;
  service_.score = [&](grpc::ServerContext&, const v1::ScoreRequest&, v1::ScoreResponse&) {
    ++attempts;
    return grpc::Status(grpc::UNAVAILABLE, "draining");
  };
  const Client client = Client::Connect(server_.address(), {.credentials = {}, .retry = false});
  EXPECT_EQ(client.Score({}).status(), absl::UnavailableError("draining"));
  EXPECT_EQ(attempts, 1);
}

TEST(ClientConnectionTest, RoundRobinReachesEveryServer) {
  FakeServer servers[3];
  std::atomic<int> calls[3] = {};
  std::string target = "ipv4:";
  for (int i = 0; i < 3; ++i) {
    servers[i].service.list_models = [&calls, i](grpc::ServerContext&, const v1::ListModelsRequest&,
                                                 v1::ListModelsResponse&) {
      ++calls[i];
      return grpc::Status::OK;
    };
    absl::StrAppend(&target, i == 0 ? "" : ",", servers[i].address());
  }
  const Client client =
      Client::Connect(target, {.credentials = {}, .retry = true, .round_robin = true});
  // Connections come up in any order.
  while (calls[0] == 0 || calls[1] == 0 || calls[2] == 0) {
    ASSERT_TRUE(client.ListModels({.timeout = absl::Seconds(60)}).ok());
  }
}

TEST_F(ClientTest, HealthIsOfTheServerOrOfAModel) {
  grpc::EnableDefaultHealthCheckService(true);
  const Client client = Connect();
  grpc::EnableDefaultHealthCheckService(false);
  grpc::HealthCheckServiceInterface& health = server_.health();
  health.SetServingStatus("m", true);
  EXPECT_TRUE(client.CheckHealth().ok());
  EXPECT_TRUE(client.CheckHealth("m").ok());
  EXPECT_TRUE(absl::IsNotFound(client.CheckHealth("other")));
  health.SetServingStatus(false);
  EXPECT_EQ(client.CheckHealth("m"), absl::UnavailableError("NOT_SERVING"));
}

TEST_F(ClientTest, ContinuationsAreScoredInTheirOrder) {
  service_.score = [](grpc::ServerContext&, const v1::ScoreRequest& request,
                      v1::ScoreResponse& response) {
    EXPECT_EQ(request.model(), "m");
    EXPECT_EQ(request.text(), "The sky is");
    for (const auto& continuation : request.continuations()) {
      response.add_continuations()->set_loglik(-1.0 * continuation.text().size());
    }
    return grpc::Status::OK;
  };

  const auto scores = Connect().ScoreContinuations("m", "The sky is", {" blue", " green"});

  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->size(), 2u);
  EXPECT_EQ((*scores)[0].loglik(), -5);
  EXPECT_EQ((*scores)[1].loglik(), -6);
}

TEST_F(ClientTest, TextBecomesTokensAndBack) {
  service_.tokenize = [](grpc::ServerContext&, const v1::TokenizeRequest& request,
                         v1::TokenizeResponse& response) {
    EXPECT_EQ(request.model(), "m");
    for (char letter : request.text()) response.add_token_ids(letter);
    return grpc::Status::OK;
  };
  service_.detokenize = [](grpc::ServerContext&, const v1::DetokenizeRequest& request,
                           v1::DetokenizeResponse& response) {
    EXPECT_EQ(request.model(), "m");
    for (int32_t id : request.token_ids()) response.mutable_text()->push_back(id);
    return grpc::Status::OK;
  };

  const auto tokens = Connect().Tokenize("m", "ab");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(tokens->token_ids(), ElementsAre('a', 'b'));
  EXPECT_EQ(Connect().Detokenize("m", {'c', 'd'}).value(), "cd");
}

TEST_F(ClientTest, ModelsAreListedAndFound) {
  service_.list_models = [](grpc::ServerContext&, const v1::ListModelsRequest&,
                            v1::ListModelsResponse& response) {
    response.add_models()->set_name("a");
    response.add_models()->set_name("b");
    return grpc::Status::OK;
  };
  service_.get_model = [](grpc::ServerContext&, const v1::GetModelRequest& request,
                          v1::Model& model) {
    if (request.model() != "a") return grpc::Status(grpc::NOT_FOUND, "no " + request.model());
    model.set_name("a");
    return grpc::Status::OK;
  };

  EXPECT_EQ(Connect().ListModels().value().at(1).name(), "b");
  EXPECT_EQ(Connect().GetModel("a").value().name(), "a");
  EXPECT_THAT(Connect().GetModel("z").status().message(), HasSubstr("no z"));
}

TEST_F(ClientTest, AResponseMayBeLargerThanTheDefaultOfGrpc) {
  service_.score = [](grpc::ServerContext&, const v1::ScoreRequest&, v1::ScoreResponse& response) {
    response.mutable_trace()->mutable_v()->Resize(2'000'000, 0.5f);
    return grpc::Status::OK;
  };

  const auto response = Connect().Score({});

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->trace().v_size(), 2'000'000);
}

TEST(AppendChunkTest, ChunksMakeUpTheResponse) {
  v1::GenerateResponse response;
  for (const char* chunk : {
           R"(request_id: "r" model: "m" seed: 3
              samples { index: 1 text: "x" token_ids: 1 logprobs { id: 1 } })",
           R"(samples { index: 0 text: "a" token_ids: 2 }
              samples { index: 1 text: "y" token_ids: [ 3, 4 ] finish_reason: STOP })",
           R"(samples { index: 0 text: "b" finish_reason: LENGTH } usage { prompt_tokens: 9 })",
       }) {
    AppendChunk(Parse<v1::GenerateChunk>(chunk), response);
  }

  EXPECT_EQ(response.DebugString(), Parse<v1::GenerateResponse>(R"(
    request_id: "r" model: "m" seed: 3
    samples { index: 0 text: "ab" token_ids: 2 finish_reason: LENGTH }
    samples { index: 1 text: "xy" token_ids: [ 1, 3, 4 ] finish_reason: STOP logprobs { id: 1 } }
    usage { prompt_tokens: 9 })")
                                        .DebugString());
}

}  // namespace
}  // namespace deltaserve
