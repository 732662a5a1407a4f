// Promise 8: shutdown drains. Streams in flight finish (to a limit), new calls get UNAVAILABLE, and
// no stream ends without a terminal message.
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "tests/promises/hanging_backend.h"
#include "tests/promises/served_engine.h"

namespace deltaserve {
namespace {

constexpr int32_t kTokens = 60;

// A server with a stream in flight, whose step hangs.
class Promise08 : public testing::Test {
 protected:
  void SetUp() override {
    backend_->HangAfter(2);
    reader_ = served_.stub().GenerateStream(&context_, GenerateCall(kTokens));
    backend_->AwaitHanging();
  }
  void Count() {
    for (const v1::Sample& sample : chunk_.samples()) {
      tokens_ += sample.token_ids_size();
      finish_reason_ = sample.finish_reason();
    }
  }
  // To the end of the stream.
  grpc::Status Drain() {
    while (reader_->Read(&chunk_)) Count();
    return reader_->Finish();
  }
  // Until it is the shutdown that refuses them.
  void AwaitRefusal() {
    grpc::Status status;
    do {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
      v1::GenerateResponse response;
      status = served_.stub().Generate(&context, GenerateCall(1), &response);
    } while (status.error_code() != grpc::StatusCode::UNAVAILABLE);
  }

  std::unique_ptr<HangingBackend> owned_ = std::make_unique<HangingBackend>();
  HangingBackend* const backend_ = owned_.get();
  ServedEngine served_{std::move(owned_)};
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>> reader_;
  v1::GenerateChunk chunk_;
  int32_t tokens_ = 0;
  v1::FinishReason finish_reason_ = v1::FINISH_REASON_UNSPECIFIED;
};

TEST_F(Promise08, StreamsInFlightFinish) {
  std::thread shutdown([this] { served_.server().Shutdown(absl::InfiniteDuration()); });
  AwaitRefusal();
  backend_->Release();
  EXPECT_TRUE(Drain().ok());
  EXPECT_EQ(tokens_, kTokens);
  EXPECT_EQ(finish_reason_, v1::LENGTH);
  EXPECT_TRUE(chunk_.has_usage());
  shutdown.join();
}

TEST_F(Promise08, PastTheLimitTheyAreTold) {
  std::thread shutdown([this] { served_.server().Shutdown(absl::ZeroDuration()); });
  served_.queue().AwaitCancel();
  backend_->Release();
  EXPECT_EQ(Drain().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_LT(tokens_, kTokens);
  EXPECT_EQ(context_.GetServerTrailingMetadata().count("deltaserve-usage-bin"), 1u);
  shutdown.join();
}

}  // namespace
}  // namespace deltaserve
