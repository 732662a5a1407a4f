#include "server/service/validation.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/service/test_server.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

constexpr uint64_t kSeed = 77;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// With the prompt "hello" unless the fields bring another.
v1::GenerateRequest Generate(const std::string& fields) {
  auto request = Parse<v1::GenerateRequest>(fields);
  if (request.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) request.set_text("hello");
  return request;
}

v1::ScoreRequest Score(const std::string& fields) {
  auto request = Parse<v1::ScoreRequest>(fields);
  if (request.context_case() == v1::ScoreRequest::CONTEXT_NOT_SET) request.set_text("hello");
  return request;
}

std::string Repeat(const std::string& part, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += part;
  return all;
}

// A field `text` of that many tokens.
std::string TextOf(int num_tokens) { return absl::StrCat("text: '", Repeat("x", num_tokens), "'"); }

const ServedModel& Tiny() {
  static const auto* model = new ServedModel{TinyModel(), ByteTokenizer(), nullptr};
  return *model;
}

ServedModel Untokenized() { return {TinyModel(), nullptr, nullptr}; }

absl::Status Check(const v1::GenerateRequest& request) {
  return Validate(request, Tiny(), kSeed).status();
}

absl::Status Check(const v1::ScoreRequest& request) {
  return Validate(request, Tiny(), RequestLimits()).status();
}

template <typename Message>
void ExpectInvalid(const Message& request, const std::string& field, const std::string& part) {
  const absl::Status status = Check(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << request.ShortDebugString();
  EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(field, ": ")));
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

TEST(ValidateGenerateTest, Defaults) {
  const auto valid = Validate(Generate(""), Tiny(), kSeed);
  ASSERT_TRUE(valid.ok()) << valid.status();
  const GenerateRequest& request = valid->request;
  EXPECT_EQ(request.model, "tiny");
  EXPECT_THAT(request.prompt, ElementsAre('h', 'e', 'l', 'l', 'o'));
  EXPECT_EQ(request.max_tokens, 64 - 5);  // 128, clamped to the context
  EXPECT_EQ(request.min_tokens, 0);
  EXPECT_EQ(request.sampling.temperature, 1);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.top_p, 1);
  EXPECT_EQ(request.sampling.min_p, 0);
  EXPECT_EQ(request.sampling.presence_penalty, 0);
  EXPECT_EQ(request.sampling.frequency_penalty, 0);
  EXPECT_EQ(request.sampling.repetition_penalty, 1);
  EXPECT_EQ(request.sampling.seed, kSeed);
  EXPECT_FALSE(request.logprobs.has_value());
  EXPECT_FALSE(request.ignore_eos);
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(valid->text.include_stop);
}

TEST(ValidateGenerateTest, MaxTokensDefaultsTo128WhereThereIsRoom) {
  ServedModel model = Tiny();
  model.info.max_sequence_tokens = 1024;
  EXPECT_EQ(Validate(Generate(""), model, kSeed)->request.max_tokens, 128);
}

TEST(ValidateGenerateTest, TakesEverything) {
  const auto valid = Validate(
      Generate("max_tokens: 20 min_tokens: 3 temperature: 0.5 top_k: 7 top_p: 0.9 min_p: 0.1 "
               "presence_penalty: 0.2 frequency_penalty: 0.3 repetition_penalty: 1.1 "
               "seed: 18446744073709551615 stop: 'x' stop: 'y' stop_token_ids: 9 ignore_eos: true "
               "include_stop: true logit_bias { key: 9 value: -1 } logit_bias { key: 2 value: 5 } "
               "logprobs: 0 n: 2"),
      Tiny(), kSeed);
  ASSERT_TRUE(valid.ok()) << valid.status();
  const GenerateRequest& request = valid->request;
  EXPECT_EQ(request.max_tokens, 20);
  EXPECT_EQ(request.min_tokens, 3);
  EXPECT_EQ(request.sampling.top_k, 7);
  EXPECT_EQ(request.sampling.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(request.sampling.logit_bias, ElementsAre(Pair(2, 5.f), Pair(9, -1.f)));
  EXPECT_THAT(request.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.logprobs, 0);
  EXPECT_EQ(request.n, 2);
  EXPECT_THAT(valid->text.stop, ElementsAre("x", "y"));
  EXPECT_TRUE(valid->text.include_stop);
}

TEST(ValidateGenerateTest, SeedZeroIsASeed) {
  EXPECT_EQ(Validate(Generate("seed: 0"), Tiny(), kSeed)->request.sampling.seed, 0u);
}

// Each parameter at its limits, and beyond them.
struct Range {
  std::string field;
  std::vector<std::string> good;
  std::vector<std::string> bad;
};

class ParameterTest : public testing::TestWithParam<Range> {};

TEST_P(ParameterTest, AtAndBeyondItsLimits) {
  const Range& range = GetParam();
  for (const std::string& value : range.good) {
    EXPECT_TRUE(Check(Generate(absl::StrCat(range.field, ": ", value))).ok())
        << value << Check(Generate(absl::StrCat(range.field, ": ", value)));
  }
  for (const std::string& value : range.bad) {
    SCOPED_TRACE(value);
    ExpectInvalid(Generate(absl::StrCat(range.field, ": ", value)), range.field, "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ranges, ParameterTest,
    testing::Values(
        Range{"max_tokens", {"1", "59"}, {"0", "-1", "60", "2147483647", "-2147483648"}},
        Range{"min_tokens", {"0", "59"}, {"-1", "60", "2147483647"}},
        Range{"temperature", {"0", "2", "1e-30"}, {"-0.001", "2.001", "nan", "inf", "-inf"}},
        Range{"top_k", {"0", "1", "2147483647"}, {"-1"}},
        Range{"top_p", {"1e-6", "1"}, {"0", "-0.1", "1.001", "nan", "inf"}},
        Range{"min_p", {"0", "1"}, {"-0.001", "1.001", "nan"}},
        Range{"presence_penalty", {"-2", "2"}, {"-2.001", "2.001", "nan"}},
        Range{"frequency_penalty", {"-2", "2"}, {"-2.001", "2.001", "nan"}},
        Range{"repetition_penalty", {"0.001", "1000"}, {"0", "-1", "nan", "inf"}},
        Range{"seed", {"0", "18446744073709551615"}, {}},
        Range{"logprobs", {"0", "20"}, {"-1", "21"}},
        Range{"n", {"1", "8"}, {"0", "-1", "9", "17"}}),
    [](const auto& test) { return test.param.field; });

TEST(ValidateGenerateTest, GreedyNeedsOneSample) {
  EXPECT_TRUE(Check(Generate("temperature: 0 n: 1")).ok());
  ExpectInvalid(Generate("temperature: 0 n: 2"), "n", "greedy");
}

TEST(ValidateGenerateTest, SixteenSamplesWhereTheModelRunsThem) {
  ServedModel model = Tiny();
  model.info.max_sequences = 100;
  EXPECT_TRUE(Validate(Generate("n: 16"), model, kSeed).ok());
  EXPECT_FALSE(Validate(Generate("n: 17"), model, kSeed).ok());
}

TEST(ValidateGenerateTest, MinTokensAtMostMaxTokens) {
  EXPECT_TRUE(Check(Generate("min_tokens: 4 max_tokens: 4")).ok());
  ExpectInvalid(Generate("min_tokens: 5 max_tokens: 4"), "min_tokens", "max_tokens, 4");
}

TEST(ValidateGenerateTest, StopStrings) {
  EXPECT_TRUE(Check(Generate(Repeat("stop: 'x' ", 16))).ok());
  ExpectInvalid(Generate(Repeat("stop: 'x' ", 17)), "stop", "17 strings; the limit is 16");
  ExpectInvalid(Generate("stop: 'x' stop: ''"), "stop[1]", "empty");
}

TEST(ValidateGenerateTest, StopTokenIds) {
  EXPECT_TRUE(Check(Generate(Repeat("stop_token_ids: 259 ", 16))).ok());
  ExpectInvalid(Generate(Repeat("stop_token_ids: 1 ", 17)), "stop_token_ids", "the limit is 16");
  ExpectInvalid(Generate("stop_token_ids: 260"), "stop_token_ids[0]", "below 260");
  ExpectInvalid(Generate("stop_token_ids: 1 stop_token_ids: -1"), "stop_token_ids[1]", "-1");
}

TEST(ValidateGenerateTest, LogitBias) {
  EXPECT_TRUE(Check(Generate("logit_bias { key: 259 value: 100 } "
                             "logit_bias { key: 0 value: -100 }"))
                  .ok());
  ExpectInvalid(Generate("logit_bias { key: 260 value: 1 }"), "logit_bias", "below 260");
  ExpectInvalid(Generate("logit_bias { key: -1 value: 1 }"), "logit_bias", "-1");
  ExpectInvalid(Generate("logit_bias { key: 3 value: 100.5 }"), "logit_bias[3]", "[-100, 100]");
  ExpectInvalid(Generate("logit_bias { key: 3 value: nan }"), "logit_bias[3]", "nan");
}

TEST(ValidateGenerateTest, Prompts) {
  ExpectInvalid(v1::GenerateRequest(), "prompt", "empty");
  ExpectInvalid(Generate("text: ''"), "prompt", "empty");
  ExpectInvalid(Generate("token_ids {}"), "prompt", "empty");
  EXPECT_TRUE(Check(Generate("token_ids { ids: 0 ids: 259 }")).ok());
  ExpectInvalid(Generate("token_ids { ids: 0 ids: 260 }"), "prompt.token_ids[1]", "below 260");
  ExpectInvalid(Generate("token_ids { ids: -5 }"), "prompt.token_ids[0]", "-5");
}

TEST(ValidateGenerateTest, PromptAndMaxTokensMustFit) {
  const std::string text63 = TextOf(63);
  const std::string text64 = TextOf(64);
  const auto valid = Validate(Generate(text63), Tiny(), kSeed);
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->request.max_tokens, 1);
  ExpectInvalid(Generate(absl::StrCat(text63, " max_tokens: 2")), "max_tokens", "can hold 64");
  ExpectInvalid(Generate(text64), "prompt", "can hold 64");
}

TEST(ValidateGenerateTest, WithoutTokenizerIdsOnly) {
  const absl::Status text = Validate(Generate(""), Untokenized(), kSeed).status();
  EXPECT_EQ(text.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.message()), HasSubstr("has no tokenizer"));
  const absl::Status stop =
      Validate(Generate("token_ids { ids: 1 } stop: 'x'"), Untokenized(), kSeed).status();
  EXPECT_THAT(std::string(stop.message()), StartsWith("stop: "));
  EXPECT_TRUE(Validate(Generate("token_ids { ids: 1 }"), Untokenized(), kSeed).ok());
}

TEST(ValidateGenerateTest, AlternativesAreAtMostTheVocabulary) {
  ServedModel model = Tiny();
  model.info.vocab_size = 130;
  EXPECT_EQ(Validate(Generate("logprobs: 20"), model, kSeed)->request.logprobs, 20);
  model.tokenizer = nullptr;
  model.info.vocab_size = 7;
  EXPECT_EQ(Validate(Generate("token_ids { ids: 1 } logprobs: 20"), model, kSeed)->request.logprobs,
            7);
}

TEST(ValidateScoreTest, OneSequence) {
  const auto valid = Validate(Score("top_k: 3 trace: true"), Tiny(), RequestLimits());
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->model, "tiny");
  EXPECT_THAT(valid->context, ElementsAre('h', 'e', 'l', 'l', 'o'));
  EXPECT_TRUE(valid->continuations.empty());
  EXPECT_EQ(valid->top_k, 3);
  EXPECT_TRUE(valid->trace);
}

TEST(ValidateScoreTest, Continuations) {
  const auto valid =
      Validate(Score("continuations { text: 'ab' } continuations { token_ids { ids: 7 } }"), Tiny(),
               RequestLimits());
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_THAT(valid->continuations, ElementsAre(ElementsAre('a', 'b'), ElementsAre(7)));
}

TEST(ValidateScoreTest, TopK) {
  EXPECT_TRUE(Check(Score("top_k: 0")).ok());
  EXPECT_TRUE(Check(Score("top_k: 20")).ok());
  ExpectInvalid(Score("top_k: -1"), "top_k", "[0, 20]");
  ExpectInvalid(Score("top_k: 21"), "top_k", "[0, 20]");
}

TEST(ValidateScoreTest, EmptyPartsAreInvalid) {
  ExpectInvalid(v1::ScoreRequest(), "context", "empty");
  ExpectInvalid(Score("text: ''"), "context", "empty");
  ExpectInvalid(Score("continuations { text: 'a' } continuations { text: '' }"), "continuations[1]",
                "empty");
  ExpectInvalid(Score("continuations {}"), "continuations[0]", "empty");
  ExpectInvalid(Score("continuations { token_ids { ids: 260 } }"), "continuations[0].token_ids[0]",
                "below 260");
}

TEST(ValidateScoreTest, NumberOfContinuations) {
  RequestLimits limits;
  limits.max_continuations = 2;
  const std::string one = "continuations { text: 'a' } ";
  EXPECT_TRUE(Validate(Score(Repeat(one, 2)), Tiny(), limits).ok());
  const absl::Status status = Validate(Score(Repeat(one, 3)), Tiny(), limits).status();
  EXPECT_EQ(status.message(), "continuations: 3; the limit is 2");
}

TEST(ValidateScoreTest, MustFit) {
  EXPECT_TRUE(Check(Score(TextOf(64))).ok());
  ExpectInvalid(Score(TextOf(65)), "context", "can hold 64");
  EXPECT_TRUE(Check(Score(absl::StrCat("continuations { ", TextOf(59), " }"))).ok());
  ExpectInvalid(
      Score(absl::StrCat("continuations { text: 'a' } continuations { ", TextOf(60), " }")),
      "context and continuations[1]", "can hold 64");
}

TEST(ValidateScoreTest, Traces) {
  ExpectInvalid(Score("trace: true continuations { text: 'a' }"), "trace", "one sequence");
  ServedModel additive = Tiny();
  additive.info.residual = "additive";
  EXPECT_THAT(
      std::string(Validate(Score("trace: true"), additive, RequestLimits()).status().message()),
      HasSubstr("additive"));
  EXPECT_TRUE(Validate(Score("trace: false"), additive, RequestLimits()).ok());
  RequestLimits limits;
  limits.max_trace_tokens = 5;
  EXPECT_TRUE(Validate(Score("trace: true"), Tiny(), limits).ok());
  limits.max_trace_tokens = 4;
  EXPECT_EQ(Validate(Score("trace: true"), Tiny(), limits).status().message(),
            "trace: of 5 tokens; the limit is 4");
}

}  // namespace
}  // namespace deltaserve
