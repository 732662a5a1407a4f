#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/tokenizer/utf8.h"
#include "tests/service/test_calls.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// A stream whose messages the test reads one by one.
struct Stream {
  Stream(TestServer& server, const v1::GenerateRequest& request)
      : reader(server.stub().GenerateStream(&context, request)) {}

  v1::GenerateChunk Read() {
    v1::GenerateChunk chunk;
    EXPECT_TRUE(reader->Read(&chunk));
    return chunk;
  }

  std::vector<v1::GenerateChunk> ReadAll() {
    std::vector<v1::GenerateChunk> chunks;
    for (v1::GenerateChunk chunk; reader->Read(&chunk);) chunks.push_back(chunk);
    return chunks;
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>> reader;
};

std::string TextOf(const std::vector<v1::GenerateChunk>& chunks, int sample = 0) {
  std::string text;
  for (const v1::GenerateChunk& chunk : chunks) {
    for (const v1::Sample& part : chunk.samples()) {
      if (part.index() == sample) text += part.text();
    }
  }
  return text;
}

TEST(GenerateStreamTest, TokensComeAsTheyAreMade) {
  TestServer server;
  Stream stream(server, GenerateText("hi"));
  auto [submitted, sink] = server.queue().NextGenerate();

  sink->OnTokens(0, Tokens("a"));
  v1::GenerateChunk chunk = stream.Read();
  EXPECT_THAT(chunk.request_id(), Not(IsEmpty()));
  EXPECT_EQ(chunk.model(), "tiny");
  EXPECT_EQ(chunk.seed(), submitted.sampling.seed);
  EXPECT_EQ(TextOf({chunk}), "a");
  EXPECT_FALSE(chunk.has_usage());

  sink->OnTokens(0, Tokens("b"));
  chunk = stream.Read();
  EXPECT_EQ(chunk.request_id(), "");  // in the first message only
  EXPECT_EQ(TextOf({chunk}), "b");
  EXPECT_EQ(chunk.samples(0).finish_reason(), v1::FINISH_REASON_UNSPECIFIED);

  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({.status = absl::OkStatus(),
                .usage = {.prompt_tokens = 2, .completion_tokens = 2, .total_ns = 1},
                .score = nullptr});
  const auto rest = stream.ReadAll();
  ASSERT_THAT(rest, Not(IsEmpty()));
  EXPECT_EQ(rest.front().samples(0).finish_reason(), v1::LENGTH);
  EXPECT_EQ(rest.back().usage().completion_tokens(), 2);
  EXPECT_TRUE(stream.reader->Finish().ok());
  EXPECT_THAT(server.observer().finished(), SizeIs(1));
}

// The client does not read: gRPC stops taking messages, tokens gather, and few messages carry them.
TEST(GenerateStreamTest, TokensMergeWhileAWriteIsInFlight) {
  TestServer server;
  Stream stream(server, GenerateText("hi"));
  auto [submitted, sink] = server.queue().NextGenerate();
  std::string sent;
  constexpr int kBursts = 300;
  const std::string burst(2000, 'x');
  for (int i = 0; i < kBursts; ++i) {
    sink->OnTokens(0, Tokens(burst));
    sent += burst;
  }
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({.status = absl::OkStatus(), .usage = {.total_ns = 1}, .score = nullptr});
  const auto chunks = stream.ReadAll();
  EXPECT_TRUE(stream.reader->Finish().ok());
  EXPECT_EQ(TextOf(chunks), sent);
  EXPECT_LT(chunks.size(), static_cast<size_t>(kBursts));
}

TEST(GenerateStreamTest, AStopStringIsNeverShownInPart) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("hi");
  request.add_stop("STOP");
  Stream stream(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("go S"));
  EXPECT_EQ(TextOf({stream.Read()}), "go ");
  sink->OnTokens(0, Tokens("T"));
  EXPECT_EQ(TextOf({stream.Read()}), "");
  sink->OnTokens(0, Tokens("OP now"));
  const v1::GenerateChunk last = stream.Read();
  EXPECT_EQ(TextOf({last}), "");
  EXPECT_EQ(last.samples(0).finish_reason(), v1::STOP);
  EXPECT_EQ(last.samples(0).token_ids_size(), 2);
  server.queue().AwaitStop(submitted.id, 0);
  sink->OnTokens(0, Tokens("more"));
  sink->OnSampleDone(0, FinishReason::kStop);
  sink->OnDone({.status = absl::OkStatus(), .usage = {.completion_tokens = 12}, .score = nullptr});
  const auto rest = stream.ReadAll();
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_THAT(rest[0].samples(), SizeIs(0));
  EXPECT_EQ(rest[0].usage().completion_tokens(), 12);
  EXPECT_TRUE(stream.reader->Finish().ok());
}

TEST(GenerateStreamTest, EveryMessageIsWholeUtf8) {
  TestServer server;
  Stream stream(server, GenerateText("hi"));
  auto [submitted, sink] = server.queue().NextGenerate();
  const std::string text = "a€😀é\xFF.";
  std::vector<v1::GenerateChunk> chunks;
  for (char byte : text) {
    sink->OnTokens(0, Tokens(std::string(1, byte)));
    chunks.push_back(stream.Read());
    const std::string part = TextOf({chunks.back()});
    EXPECT_EQ(ValidUtf8Prefix(part), part.size());
  }
  EXPECT_EQ(TextOf(chunks), "a€😀é\uFFFD.");
  sink->OnSampleDone(0, FinishReason::kLength);
  sink->OnDone({});
  stream.ReadAll();
  EXPECT_TRUE(stream.reader->Finish().ok());
}

TEST(GenerateStreamTest, SamplesInterleave) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("hi");
  request.set_n(2);
  Stream stream(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("a"));
  sink->OnTokens(1, Tokens("x"));
  sink->OnTokens(0, Tokens("b"));
  sink->OnSampleDone(0, FinishReason::kStop);
  sink->OnTokens(1, Tokens("y"));
  sink->OnSampleDone(1, FinishReason::kLength);
  sink->OnDone({});
  const auto chunks = stream.ReadAll();
  EXPECT_EQ(TextOf(chunks, 0), "ab");
  EXPECT_EQ(TextOf(chunks, 1), "xy");
  int ends = 0;
  for (const auto& chunk : chunks) {
    for (const auto& sample : chunk.samples()) {
      ends += sample.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    }
  }
  EXPECT_EQ(ends, 2);
  EXPECT_TRUE(stream.reader->Finish().ok());
}

TEST(GenerateStreamTest, ABadEndShowsItsTextAndItsUsage) {
  TestServer server;
  v1::GenerateRequest request = GenerateText("hi");
  Stream stream(server, request);
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("partial"));
  sink->OnDone({.status = absl::DeadlineExceededError("late"),
                .usage = {.completion_tokens = 7, .total_ns = 1},
                .score = nullptr});
  const auto chunks = stream.ReadAll();
  EXPECT_EQ(TextOf(chunks), "partial");
  for (const auto& chunk : chunks) EXPECT_FALSE(chunk.has_usage());
  EXPECT_EQ(stream.reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const auto usage = TrailingUsage(stream.context);
  ASSERT_NE(usage, nullptr);
  EXPECT_EQ(usage->completion_tokens(), 7);
}

TEST(GenerateStreamTest, CancellingReachesTheQueue) {
  TestServer server;
  Stream stream(server, GenerateText("hi"));
  auto [submitted, sink] = server.queue().NextGenerate();
  sink->OnTokens(0, Tokens("a"));
  stream.Read();
  stream.context.TryCancel();
  server.queue().AwaitCancel(submitted.id);
  sink->OnTokens(0, Tokens("too late"));
  sink->OnDone({.status = absl::CancelledError("left"),
                .usage = {.completion_tokens = 9, .total_ns = 1},
                .score = nullptr});
  EXPECT_EQ(stream.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  const auto finished = server.observer().AwaitFinished(1);
  EXPECT_EQ(finished[0].method, Method::kGenerateStream);
  EXPECT_EQ(finished[0].code, absl::StatusCode::kCancelled);
  EXPECT_EQ(finished[0].usage.completion_tokens, 9);
}

TEST(GenerateStreamTest, RefusalsComeAsAStatus) {
  TestServer server;
  server.queue().Answer(absl::UnavailableError("draining"));
  Stream stream(server, GenerateText("hi"));
  EXPECT_THAT(stream.ReadAll(), IsEmpty());
  const grpc::Status status = stream.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("draining"));
  EXPECT_THAT(server.observer().finished(), SizeIs(1));
}

// Streams that end, fail and are cancelled all at once: each is received and finished once.
TEST(GenerateStreamTest, EveryStreamEndsOnce) {
  TestServer server;
  constexpr int kStreams = 48;
  std::thread engine([&] {
    std::vector<FakeQueue::Generate> running;
    for (int i = 0; i < kStreams; ++i) {
      running.push_back(server.queue().NextGenerate());
      running.back().sink->OnTokens(0, Tokens("first"));
    }
    for (int step = 0; step < 20; ++step) {
      for (auto& call : running) call.sink->OnTokens(0, Tokens("more"));
    }
    for (int i = 0; i < kStreams; ++i) {
      absl::Status status;
      if (running[i].request.prompt[0] == 'c') {
        server.queue().AwaitCancel(running[i].request.id);
        status = absl::CancelledError("");
      } else if (running[i].request.prompt[0] == 'f') {
        status = absl::UnavailableError("fault");
      } else {
        running[i].sink->OnSampleDone(0, FinishReason::kLength);
      }
      running[i].sink->OnDone({.status = status, .usage = {.total_ns = 1}, .score = nullptr});
    }
  });
  std::vector<std::thread> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.emplace_back([&server, i] {
      const std::string kind = i % 3 == 0 ? "ok" : i % 3 == 1 ? "cancel" : "fail";
      Stream stream(server, GenerateText(kind));
      stream.Read();
      if (kind == "cancel") stream.context.TryCancel();
      const auto rest = stream.ReadAll();
      const grpc::StatusCode code = stream.reader->Finish().error_code();
      EXPECT_EQ(code, kind == "ok"       ? grpc::StatusCode::OK
                      : kind == "cancel" ? grpc::StatusCode::CANCELLED
                                         : grpc::StatusCode::UNAVAILABLE);
    });
  }
  for (std::thread& client : clients) client.join();
  engine.join();
  const auto finished = server.observer().AwaitFinished(kStreams);
  EXPECT_THAT(finished, SizeIs(kStreams));
  EXPECT_THAT(server.observer().received(), SizeIs(kStreams));
}

}  // namespace
}  // namespace deltaserve
