#include "server/service/wire.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/service/test_server.h"

namespace deltaserve {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

TEST(ParseRequestTest, GivesBackWhatWasSerialised) {
  v1::GenerateRequest request;
  request.set_text("grüße");
  request.add_stop("\n");
  (*request.mutable_logit_bias())[3] = 1.5f;
  v1::GenerateRequest parsed;
  ASSERT_TRUE(ParseRequest(Serialize(request), 1 << 20, &parsed).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(parsed, request));
}

TEST(ParseRequestTest, AnEmptyMessageIsOne) {
  v1::GenerateRequest parsed;
  EXPECT_TRUE(ParseRequest(Bytes(""), 10, &parsed).ok());
  EXPECT_TRUE(ParseRequest(grpc::ByteBuffer(), 10, &parsed).ok());
}

TEST(ParseRequestTest, LengthIsCheckedFirst) {
  v1::GenerateRequest parsed;
  EXPECT_TRUE(ParseRequest(Bytes("\x12\x02"
                                 "ab"),
                           4, &parsed)
                  .ok());
  const absl::Status status = ParseRequest(Bytes("garbage"), 4, &parsed);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("7 bytes; the limit is 4"));
}

TEST(ParseRequestTest, NamesTheFieldThatIsNotUtf8) {
  // Field 2, `text`, of two bytes.
  v1::GenerateRequest generate;
  absl::Status status = ParseRequest(Bytes("\x12\x02"
                                           "a\xFF"),
                                     100, &generate);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "text: not UTF-8");

  // Field 4, `continuations`, whose field 1 is `text`.
  v1::ScoreRequest score;
  status = ParseRequest(Bytes("\x22\x04\x0A\x02\xC3("), 100, &score);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "continuations.text: not UTF-8");
}

TEST(ParseRequestTest, MalformedBytesAreTheCallersFault) {
  v1::GenerateRequest parsed;
  const absl::Status status = ParseRequest(Bytes("\x12\x7F"), 100, &parsed);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("deltaserve.v1.GenerateRequest"));
}

TEST(ToProtoTest, ScoredTokensAddUp) {
  const auto tokenizer = ByteTokenizer();
  const TokenScores scores = {.logprobs = {-1.5f, -0.25f},
                              .is_greedy = {true, false},
                              .top_k = {{{.id = 'x', .logprob = -1}}, {}}};
  const v1::ScoredTokens out = ToProto({'a', 0xFF}, scores, tokenizer.get());
  ASSERT_EQ(out.tokens_size(), 2);
  EXPECT_EQ(out.tokens(0).piece(), "a");
  EXPECT_EQ(out.tokens(1).piece(), "\xFF");
  ASSERT_EQ(out.tokens(0).top_size(), 1);
  EXPECT_EQ(out.tokens(0).top(0).piece(), "x");
  EXPECT_EQ(out.loglik(), -1.75);
  EXPECT_FALSE(out.is_greedy());
}

TEST(UsageToProtoTest, NanosecondsSurvive) {
  Usage usage;
  usage.device[Phase::kPrefill].device_ns = 123'456'789'012'345;
  usage.device[Phase::kDecode].device_ns = 1;
  const v1::Usage proto = ToProto(usage);
  EXPECT_EQ(std::llround(proto.prefill().device_seconds() * 1e9), 123'456'789'012'345);
  EXPECT_EQ(std::llround(proto.decode().device_seconds() * 1e9), 1);
  EXPECT_EQ(std::llround(proto.device_seconds() * 1e9), 123'456'789'012'346);
  EXPECT_EQ(proto.score().device_seconds(), 0);
}

TEST(UsageToProtoTest, EnergyAndCostWhereTheyAreKnown) {
  Usage usage;
  const v1::Usage unknown = ToProto(usage);
  EXPECT_FALSE(unknown.has_energy_joules());
  EXPECT_FALSE(unknown.has_cost_usd());
  EXPECT_FALSE(unknown.prefill().has_cost_usd());

  usage.device[Phase::kPrefill] = {.device_ns = 1, .energy_uj = 2'500'000, .cost = 500'000};
  usage.device[Phase::kDecode] = {.device_ns = 1, .energy_uj = 1'000'000, .cost = 250'000};
  const v1::Usage known = ToProto(usage);
  EXPECT_DOUBLE_EQ(known.energy_joules(), 3.5);
  EXPECT_DOUBLE_EQ(known.cost_usd(), 7.5e-7);
  EXPECT_DOUBLE_EQ(known.prefill().energy_joules(), 2.5);
  EXPECT_DOUBLE_EQ(known.decode().cost_usd(), 2.5e-7);
  EXPECT_FALSE(known.score().has_cost_usd());
}

TEST(ModelToProtoTest, ThePriceWhereItIsKnown) {
  ModelInfo info;
  EXPECT_FALSE(ToProto(info, false).has_usd_per_device_hour());
  info.usd_per_device_hour = 2.49;
  EXPECT_EQ(ToProto(info, false).usd_per_device_hour(), 2.49);
}

}  // namespace
}  // namespace deltaserve
