#include "client/cpp/generation_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <stop_token>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "tests/client/fake_server.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;

class GenerationObserverTest : public ::testing::Test {
 protected:
  // Once the service's answers are set.
  Client Connect() { return Client::Connect(server_.address()); }

  FakeServer server_;
  FakeInferenceService& service_ = server_.service;
};

// Remembers what it is told.
struct RecordingObserver final : GenerationObserver {
  void OnChunk(const v1::GenerateChunk& chunk) override {
    texts.push_back(chunk.samples(0).text());
    if (cancel_at_first) cancellation.request_stop();
  }
  void OnEnd(const absl::Status& status) override { ended.set_value(status); }

  bool cancel_at_first = false;
  std::stop_source cancellation;
  std::vector<std::string> texts;
  std::promise<absl::Status> ended;
};

TEST_F(GenerationObserverTest, AnObserverIsToldOfAStream) {
  service_.generate_stream = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                                grpc::ServerWriter<v1::GenerateChunk>& writer) {
    for (const char* text : {"one", " two"}) {
      v1::GenerateChunk chunk;
      chunk.add_samples()->set_text(text + request.text());
      writer.Write(chunk);
    }
    return grpc::Status(grpc::RESOURCE_EXHAUSTED, "no more");
  };
  RecordingObserver observer;
  const Client client = Connect();
  {
    v1::GenerateRequest request;  // is needed until it is sent only
    request.set_text("!");
    client.GenerateStream(request, &observer);
  }

  const absl::Status status = observer.ended.get_future().get();

  EXPECT_EQ(status, absl::ResourceExhaustedError("no more"));
  EXPECT_THAT(observer.texts, ElementsAre("one!", " two!"));
}

TEST_F(GenerationObserverTest, AnObserverMayCancel) {
  service_.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                                grpc::ServerWriter<v1::GenerateChunk>& writer) {
    v1::GenerateChunk chunk;
    chunk.add_samples()->set_text("one");
    writer.Write(chunk);
    return AwaitCancellation(context);
  };
  RecordingObserver observer;
  observer.cancel_at_first = true;
  const Client client = Connect();

  client.GenerateStream({}, &observer, {.cancellation = observer.cancellation.get_token()});

  EXPECT_TRUE(absl::IsCancelled(observer.ended.get_future().get()));
}

TEST_F(GenerationObserverTest, AnObservedCallMayBeCancelledBeforeItStarts) {
  RecordingObserver observer;
  observer.cancellation.request_stop();
  const Client client = Connect();

  client.GenerateStream({}, &observer, {.cancellation = observer.cancellation.get_token()});

  EXPECT_TRUE(absl::IsCancelled(observer.ended.get_future().get()));
}

}  // namespace
}  // namespace deltaserve
