#include "client/cli/text_output.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/cpp/generation_stream.h"

namespace deltaserve::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Message>
Message Parse(const char* text_format) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text_format, &message)) << text_format;
  return message;
}

// What stands on the terminal after each of `chunks`, then after the end.
std::vector<std::string> Shown(bool numbered, const std::vector<const char*>& chunks) {
  std::ostringstream out;
  GenerationPrinter printer(numbered, out);
  v1::GenerateResponse response;
  std::vector<std::string> shown;
  for (const char* chunk : chunks) {
    AppendChunk(Parse<v1::GenerateChunk>(chunk), response);
    printer.Show(response);
    shown.push_back(out.str());
  }
  printer.Finish(response);
  shown.push_back(out.str());
  return shown;
}

TEST(GenerationPrinterTest, TextIsShownAsItArrives) {
  EXPECT_THAT(Shown(false, {"samples { text: 'Once' }", "samples { token_ids: 3 }",
                            "samples { text: ' upon' finish_reason: STOP }"}),
              ::testing::ElementsAre("Once", "Once", "Once upon\n", "Once upon\n"));
}

TEST(GenerationPrinterTest, ATextThatWasCutOffEndsItsLine) {
  EXPECT_EQ(Shown(false, {"samples { text: 'Once' }"}).back(), "Once\n");
  EXPECT_EQ(Shown(false, {}).back(), "");
}

TEST(GenerationPrinterTest, SamplesDoNotMix) {
  EXPECT_THAT(Shown(true, {"samples { index: 1 text: 'b' }", "samples { index: 0 text: 'a' }",
                           "samples { index: 1 text: 'B' finish_reason: STOP }",
                           "samples { index: 0 text: 'A' finish_reason: STOP }"}),
              ::testing::ElementsAre("--- sample 0\n", "--- sample 0\na", "--- sample 0\na",
                                     "--- sample 0\naA\n--- sample 1\nbB\n",
                                     "--- sample 0\naA\n--- sample 1\nbB\n"));
}

TEST(GenerationPrinterTest, WithoutATokenizerIdsAreShown) {
  EXPECT_EQ(Shown(false, {"samples { token_ids: [ 5, 6 ] }",
                          "samples { token_ids: 7 finish_reason: LENGTH }"})
                .back(),
            "5 6 7\n");
}

TEST(TextOutputTest, AScoreShowsTokensAndTheirSum) {
  std::ostringstream out;
  PrintScore(Parse<v1::ScoreResponse>(R"(
               sequence { tokens { id: 2 piece: "\n" logprob: -1.5
                                   top { id: 3 piece: "x" logprob: -0.5 } }
                          loglik: -1.5 is_greedy: true })"),
             out);
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("-1.5000"), HasSubstr(R"("\n")"), HasSubstr(R"(3 "x" -0.5000)"),
                    HasSubstr("loglik -1.5000"), HasSubstr("greedy")));
}

TEST(TextOutputTest, TokensAreListed) {
  std::ostringstream out;
  PrintTokens(Parse<v1::TokenizeResponse>(R"(token_ids: [ 1, 22 ] pieces: "a" pieces: "\377")"),
              out);
  EXPECT_EQ(out.str(), "       1  \"a\"\n      22  \"\xef\xbf\xbd\"\n");
}

TEST(TextOutputTest, ModelsAreATable) {
  std::ostringstream out;
  PrintModels({Parse<v1::Model>(R"(name: "a-long-name" residual: "ddl_tc" num_parameters: 12500000
                                   has_tokenizer: true)"),
               Parse<v1::Model>("name: 'b' residual: 'additive'")},
              out);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("NAME         RESIDUAL"),
                               HasSubstr("a-long-name  ddl_tc    0    12.5 M"),
                               HasSubstr("\nb            additive")));
}

TEST(TextOutputTest, ASummaryHoldsReasonsTokensAndSeed) {
  EXPECT_THAT(Summary(Parse<v1::GenerateResponse>(R"(
                seed: 42 samples { finish_reason: STOP } samples { finish_reason: LENGTH }
                usage { prompt_tokens: 3 cached_prompt_tokens: 2 completion_tokens: 9 })")),
              AllOf(HasSubstr("STOP, LENGTH; 3 prompt (2 cached), 9 generated tokens"),
                    HasSubstr("seed 42")));
}

TEST(TextOutputTest, ASummaryHoldsWhatTheDeviceSpent) {
  EXPECT_EQ(
      Summary(Parse<v1::Usage>(R"(
              prompt_tokens: 3 total_seconds: 0.004 device_seconds: 0.0031
              prefill { device_seconds: 0.001 } decode { device_seconds: 0.0021 })")),
      "3 prompt tokens; queued 0.0 ms, total 4.0 ms; device 3.1 ms (prefill 1.0, decode 2.1)");
  EXPECT_EQ(Summary(Parse<v1::Usage>(R"(
              prompt_tokens: 3 total_seconds: 0.004
              device_seconds: 0.002 energy_joules: 1.25 cost_usd: 2e-06
              prefill { device_seconds: 0.0005 energy_joules: 1 cost_usd: 5e-07 }
              decode { device_seconds: 0.0015 energy_joules: 0.25 cost_usd: 1.5e-06 })")),
            "3 prompt tokens; queued 0.0 ms, total 4.0 ms; device 2.0 ms (prefill 0.5, decode "
            "1.5), 1.25 J; 2e-06 USD (prefill 5e-07, decode 1.5e-06)");
  // A single phase is the total.
  EXPECT_EQ(Summary(Parse<v1::Usage>(R"(
              scored_tokens: 3 total_seconds: 0.004 device_seconds: 0.002 cost_usd: 2e-06
              prefill {} decode {} score { device_seconds: 0.002 cost_usd: 2e-06 })")),
            "0 prompt, 3 scored tokens; queued 0.0 ms, total 4.0 ms; device 2.0 ms; 2e-06 USD");
}

TEST(TextOutputTest, AnErrorBeginsWithItsStatusAndMessage) {
  std::ostringstream out;
  PrintError(absl::NotFoundError("no model \"x\""), out);
  EXPECT_EQ(out.str(), "deltactl: NOT_FOUND: no model \"x\"\n");
}

}  // namespace
}  // namespace deltaserve::cli
