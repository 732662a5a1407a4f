#include "client/cli/command_line.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace deltaserve::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CommandLine Parsed(const std::vector<std::string>& arguments) {
  auto parsed = ParseCommandLine(arguments);
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->message;
    return {};
  }
  return std::get<CommandLine>(parsed);
}

EarlyExit Exited(const std::vector<std::string>& arguments) {
  auto parsed = ParseCommandLine(arguments);
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) return *exit;
  ADD_FAILURE() << "taken: " << ::testing::PrintToString(arguments);
  return {};
}

template <typename Request>
Request RequestOf(const std::vector<std::string>& arguments) {
  return std::get<Request>(Parsed(arguments).request);
}

template <typename Request>
std::string TextOf(const char* text_format) {
  Request request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text_format, &request)) << text_format;
  return request.DebugString();
}

struct FieldCase {
  std::vector<std::string> flags;
  const char* fields;  // in text format
};

class GenerateFlagTest : public ::testing::TestWithParam<FieldCase> {};

TEST_P(GenerateFlagTest, SetsItsFieldAndNoOther) {
  std::vector<std::string> arguments = {"generate"};
  arguments.insert(arguments.end(), GetParam().flags.begin(), GetParam().flags.end());
  arguments.push_back("Hi");

  EXPECT_EQ(RequestOf<v1::GenerateRequest>(arguments).DebugString(),
            TextOf<v1::GenerateRequest>((std::string("text: 'Hi' ") + GetParam().fields).c_str()));
}

INSTANTIATE_TEST_SUITE_P(
    EachOne, GenerateFlagTest,
    ::testing::Values(
        FieldCase{{}, ""}, FieldCase{{"--model", "m"}, "model: 'm'"},
        FieldCase{{"--max-tokens", "5"}, "max_tokens: 5"},
        FieldCase{{"--max-tokens=010"}, "max_tokens: 10"},
        FieldCase{{"--min-tokens", "2"}, "min_tokens: 2"},
        FieldCase{{"--temperature", "0"}, "temperature: 0"},
        FieldCase{{"--top-k", "40"}, "top_k: 40"}, FieldCase{{"--top-p", ".9"}, "top_p: 0.9"},
        FieldCase{{"--min-p", "0.05"}, "min_p: 0.05"},
        FieldCase{{"--presence-penalty", "-1.5"}, "presence_penalty: -1.5"},
        FieldCase{{"--frequency-penalty", "-2"}, "frequency_penalty: -2"},
        FieldCase{{"--repetition-penalty", "1.1"}, "repetition_penalty: 1.1"},
        FieldCase{{"--seed", "18446744073709551615"}, "seed: 18446744073709551615"},
        FieldCase{{"--stop", "a", "--stop", "b c"}, "stop: 'a' stop: 'b c'"},
        FieldCase{{"--stop", "[x,y]"}, "stop: '[x,y]'"}, FieldCase{{"--stop", "{}"}, "stop: '{}'"},
        FieldCase{{"--stop", "--"}, "stop: '--'"}, FieldCase{{"--stop", ""}, "stop: ''"},
        FieldCase{{"--stop-token-ids", "1,2"}, "stop_token_ids: 1 stop_token_ids: 2"},
        FieldCase{{"--ignore-eos"}, "ignore_eos: true"},
        FieldCase{{"--include-stop"}, "include_stop: true"},
        FieldCase{{"--logit-bias", "5=-100", "--logit-bias", "7=2.5"},
                  "logit_bias { key: 5 value: -100 } logit_bias { key: 7 value: 2.5 }"},
        FieldCase{{"--logprobs", "0"}, "logprobs: 0"}, FieldCase{{"--n", "4"}, "n: 4"},
        FieldCase{{"-n", "4"}, "n: 4"}));

TEST(CommandLineTest, ThePromptMayBeIds) {
  const CommandLine line = Parsed({"generate", "--prompt-ids", "1,2,3"});

  EXPECT_EQ(std::get<v1::GenerateRequest>(line.request).DebugString(),
            TextOf<v1::GenerateRequest>("token_ids { ids: [1, 2, 3] }"));
  EXPECT_FALSE(line.text_path.has_value());
}

TEST(CommandLineTest, ThePromptMayComeFromAFile) {
  const CommandLine line = Parsed({"generate", "--file", "story.txt"});

  EXPECT_EQ(line.text_path, "story.txt");
  EXPECT_EQ(std::get<v1::GenerateRequest>(line.request).prompt_case(),
            v1::GenerateRequest::PROMPT_NOT_SET);
}

TEST(CommandLineTest, APromptThatIsLeftOutComesFromStandardInput) {
  for (const char* command : {"generate", "score", "tokenize"}) {
    EXPECT_EQ(Parsed({command}).text_path, "-") << command;
  }
  EXPECT_FALSE(Parsed({"models"}).text_path.has_value());
}

TEST(CommandLineTest, AnEmptyPromptIsAPrompt) {
  const CommandLine line = Parsed({"generate", ""});

  EXPECT_FALSE(line.text_path.has_value());
  EXPECT_EQ(std::get<v1::GenerateRequest>(line.request).prompt_case(), v1::GenerateRequest::kText);
}

TEST(CommandLineTest, APromptMayLookLikeAnythingAfterTwoDashes) {
  for (const char* prompt : {"--json", "-5", "++", "--", "help", "[1,2]", "{}", " ", "%%"}) {
    EXPECT_EQ(RequestOf<v1::TokenizeRequest>({"tokenize", "--json", "--", prompt}).text(), prompt);
  }
  for (const char* prompt : {"help", "score", "++", "[1,2]", "{}", " ", "-", "a\nb", "/x", "%%"}) {
    EXPECT_EQ(RequestOf<v1::TokenizeRequest>({"tokenize", prompt, "--json"}).text(), prompt);
  }
}

TEST(CommandLineTest, PromptsFromTwoSourcesAreRefused) {
  EXPECT_EQ(Exited({"generate", "text", "--file", "f"}).code, kExitUsage);
  EXPECT_EQ(Exited({"generate", "text", "--prompt-ids", "1"}).code, kExitUsage);
  EXPECT_EQ(Exited({"score", "--file", "f", "--context-ids", "1"}).code, kExitUsage);
}

TEST(CommandLineTest, ConnectionFlagsGoBeforeOrAfterTheCommand) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--address", "h:1", "--timeout", "1.5", "--json", "models"},
        std::vector<std::string>{"models", "--address", "h:1", "--timeout", "1.5", "--json"}}) {
    const CommandLine line = Parsed(arguments);
    EXPECT_EQ(line.address, "h:1");
    EXPECT_EQ(line.timeout, absl::Milliseconds(1500));
    EXPECT_TRUE(line.json);
  }
  const CommandLine line = Parsed({"models"});
  EXPECT_EQ(line.address, "127.0.0.1:50051");
  EXPECT_EQ(line.timeout, absl::InfiniteDuration());
  EXPECT_FALSE(line.json);
}

TEST(CommandLineTest, ScoreTakesContinuationsInTheirOrder) {
  EXPECT_EQ(RequestOf<v1::ScoreRequest>({"score", "The sky", "--continuation", " is",
                                         "--continuation-ids", "4,5", "--continuation", "-x",
                                         "--continuation-ids", "6", "--top-k", "3", "--model", "m"})
                .DebugString(),
            TextOf<v1::ScoreRequest>(R"(
              model: 'm' text: 'The sky' top_k: 3
              continuations { text: ' is' } continuations { token_ids { ids: [4, 5] } }
              continuations { text: '-x' } continuations { token_ids { ids: 6 } })"));
}

TEST(CommandLineTest, ScoreTakesIdsAndTrace) {
  for (const char* flag : {"--context-ids", "--prompt-ids"}) {
    EXPECT_EQ(RequestOf<v1::ScoreRequest>({"score", flag, "7,8", "--trace"}).DebugString(),
              TextOf<v1::ScoreRequest>("token_ids { ids: [7, 8] } trace: true"));
  }
}

TEST(CommandLineTest, ModelsMayBeOne) {
  EXPECT_TRUE(std::holds_alternative<v1::ListModelsRequest>(Parsed({"models"}).request));
  EXPECT_EQ(RequestOf<v1::GetModelRequest>({"models", "--model", "m"}).model(), "m");
}

TEST(CommandLineTest, HealthIsOfTheServerOrOfAModel) {
  EXPECT_EQ(RequestOf<CommandLine::CheckHealth>({"health"}).model, "");
  EXPECT_EQ(RequestOf<CommandLine::CheckHealth>({"health", "--model", "m"}).model, "m");
  EXPECT_EQ(Parsed({"health"}).text_path, std::nullopt);
}

TEST(CommandLineTest, UsageTakesFiltersAndKeys) {
  const CommandLine line =
      Parsed({"usage", "--tenant", "acme", "--model", "m", "--from", "2026-11-01", "--to",
              "2026-11-30", "--by", "day,tenant", "--csv", "--key-file", "k"});
  EXPECT_EQ(std::get<v1::GetUsageRequest>(line.request).DebugString(),
            TextOf<v1::GetUsageRequest>("tenant: 'acme' model: 'm' first_day: '2026-11-01'"
                                        " last_day: '2026-11-30' by_tenant: true by_day: true"));
  EXPECT_TRUE(line.csv);
  EXPECT_EQ(line.key_path, "k");
  EXPECT_EQ(line.text_path, std::nullopt);
  EXPECT_EQ(RequestOf<v1::GetUsageRequest>({"usage", "--request", "a-1"}).request_id(), "a-1");
  EXPECT_THAT(Exited({"usage", "--by", "week"}).message,
              HasSubstr("week is none of day, tenant, model"));
}

TEST(CommandLineTest, CostTakesModelsAndALoad) {
  const auto command = RequestOf<CommandLine::Cost>({"cost", "--model", "a,b", "--batch", "4,16",
                                                     "--prompt-tokens", "9", "--completion-tokens",
                                                     "7", "--rounds", "5", "--png", "costs.png"});
  EXPECT_THAT(command.models, ElementsAre("a", "b"));
  EXPECT_THAT(command.load.batches, ElementsAre(4, 16));
  EXPECT_EQ(command.load.prompt_tokens, 9);
  EXPECT_EQ(command.load.completion_tokens, 7);
  EXPECT_EQ(command.load.rounds, 5);
  EXPECT_EQ(command.png_path, "costs.png");

  const CommandLine line = Parsed({"cost"});
  const auto defaults = std::get<CommandLine::Cost>(line.request);
  EXPECT_THAT(defaults.models, IsEmpty());
  EXPECT_THAT(defaults.load.batches, ElementsAre(1, 8, 32));
  EXPECT_EQ(defaults.load.prompt_tokens, std::nullopt);
  EXPECT_EQ(defaults.png_path, "");
  EXPECT_EQ(line.text_path, std::nullopt);
}

TEST(CommandLineTest, KeysAddTakesATenantAndItsLimits) {
  const auto command = RequestOf<CommandLine::AddKey>(
      {"keys", "add", "--file", "f", "--tenant", "acme", "--admin", "--model", "a", "--model", "b",
       "--requests-per-minute", "5", "--tokens-per-minute", "6", "--budget", "2.50/month"});
  EXPECT_EQ(command.path, "f");
  EXPECT_TRUE(command.admin);
  EXPECT_EQ(command.tenant.DebugString(),
            TextOf<v1::KeysFile::Tenant>("name: 'acme' models: 'a' models: 'b'"
                                         " requests_per_minute: 5 tokens_per_minute: 6"
                                         " budget { usd: '2.50' period: 'month' }"));
  EXPECT_THAT(Exited({"keys", "add", "--file", "f", "--tenant", "a", "--budget", "2"}).message,
              HasSubstr("2 is not of the form USD/PERIOD"));
  EXPECT_EQ(Exited({"keys", "add", "--tenant", "a"}).code, kExitUsage);
  EXPECT_EQ(Exited({"keys"}).code, kExitUsage);
}

TEST(CommandLineTest, BadUsageNamesTheCulprit) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"frobnicate"}, "frobnicate"},
      {{"generate", "Hi", "--frob"}, "--frob"},
      {{"generate", "Hi", "there"}, "there"},
      {{"generate", "Hi", "--max-tokens", "many"}, "--max-tokens: many is not an integer"},
      {{"generate", "Hi", "--max-tokens", "4294967296"}, "--max-tokens"},
      {{"generate", "Hi", "--max-tokens"}, "--max-tokens"},
      {{"generate", "Hi", "--max-tokens", "1", "--max-tokens", "2"}, "--max-tokens"},
      {{"generate", "Hi", "--seed", "-1"}, "--seed"},
      {{"generate", "Hi", "--top-p", "half"}, "--top-p: half is not a number"},
      {{"generate", "Hi", "--logit-bias", "5"}, "ID=VALUE"},
      {{"generate", "Hi", "--logit-bias", "x=5"}, "x is not an integer"},
      {{"generate", "--prompt-ids", "1,,2"}, "--prompt-ids"},
      {{"generate", "Hi", "--timeout", "0"}, "--timeout: 0 is not above 0"},
      {{"generate", "Hi", "--timeout", "nan"}, "--timeout"},
      {{"score", "Hi", "--continuation-ids", "a"}, "--continuation-ids: a is not"},
      {{"cost", "--batch", "8,0"}, "--batch: 0 is not in 1 to 1024"},
      {{"cost", "--batch", ""}, "--batch"},
      {{"cost", "--completion-tokens", "1"}, "--completion-tokens: 1 is not in 2 to"},
      {{"cost", "more"}, "more"},
      {{"help", "frobnicate"}, "frobnicate"},
  };
  for (const auto& [arguments, culprit] : cases) {
    const EarlyExit exit = Exited(arguments);
    EXPECT_EQ(exit.code, kExitUsage);
    EXPECT_THAT(exit.message, HasSubstr(culprit));
  }
}

TEST(CommandLineTest, HelpIsThereInEveryWay) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, std::vector<std::string>{"-h"},
        std::vector<std::string>{"help"}}) {
    const EarlyExit exit = Exited(arguments);
    EXPECT_EQ(exit.code, kExitOk);
    EXPECT_THAT(exit.message,
                AllOf(HasSubstr("generate"), HasSubstr("score"), HasSubstr("tokenize"),
                      HasSubstr("models"), HasSubstr("--address"), HasSubstr("Exit codes")));
  }
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"help", "generate"},
                                                    std::vector<std::string>{"generate", "--help"},
                                                    std::vector<std::string>{"generate", "-h"}}) {
    const EarlyExit exit = Exited(arguments);
    EXPECT_EQ(exit.code, kExitOk);
    EXPECT_THAT(exit.message, AllOf(HasSubstr("Usage: deltactl generate"),
                                    HasSubstr("--temperature"), HasSubstr("--address")));
  }
}

TEST(CommandLineTest, NoCommandAtAllIsBadUsageAndShowsTheHelp) {
  const EarlyExit exit = Exited({});
  EXPECT_EQ(exit.code, kExitUsage);
  EXPECT_THAT(exit.message, HasSubstr("generate"));
}

TEST(CommandLineTest, TlsIsAskedForByAnyOfItsOptions) {
  EXPECT_FALSE(Parsed({"models"}).tls.has_value());
  EXPECT_EQ(Parsed({"models", "--tls"}).tls->ca, "");
  const auto line = Parsed(
      {"models", "--tls-ca", "ca.pem", "--tls-cert", "me.pem", "--tls-key", "me.key", "--tls"});
  EXPECT_EQ(line.tls->ca, "ca.pem");
  EXPECT_EQ(line.tls->cert, "me.pem");
  EXPECT_EQ(line.tls->key, "me.key");
}

}  // namespace
}  // namespace deltaserve::cli
