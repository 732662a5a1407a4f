// The real binary against a server that answers as each test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/synchronization/notification.h"
#include "tests/client/fake_server.h"
#include "tests/support/process/subprocess.h"

namespace deltaserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(60);

std::unique_ptr<Subprocess> Start(std::vector<std::string> arguments,
                                  absl::string_view input = "") {
  arguments.insert(arguments.begin(), DELTACTL_BINARY);
  return Subprocess::Start(std::move(arguments), input).value();
}

Ended RunToEnd(std::vector<std::string> arguments, absl::string_view input = "") {
  arguments.insert(arguments.begin(), DELTACTL_BINARY);
  return deltaserve::RunToEnd(std::move(arguments), kPatience, input).value();
}

class DeltactlTest : public ::testing::Test {
 protected:
  std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return arguments;
  }

  // Repeats the prompt as its one sample.
  void EchoPrompts() {
    service_.generate = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                           v1::GenerateResponse& response) {
      v1::Sample& sample = *response.add_samples();
      sample.set_text(request.text());
      *sample.mutable_token_ids() = request.token_ids().ids();
      sample.set_finish_reason(v1::STOP);
      response.mutable_usage()->set_prompt_tokens(2);
      return grpc::Status::OK;
    };
    service_.generate_stream = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                                  grpc::ServerWriter<v1::GenerateChunk>& writer) {
      for (char letter : request.text()) {
        v1::GenerateChunk chunk;
        chunk.add_samples()->set_text(std::string(1, letter));
        writer.Write(chunk);
      }
      v1::GenerateChunk last;
      last.add_samples()->set_finish_reason(v1::STOP);
      last.mutable_usage()->set_prompt_tokens(2);
      writer.Write(last);
      return grpc::Status::OK;
    };
  }

  // One model, whose prompt tokens take a second of the device and others two.
  void ServeForADollarASecond() {
    service_.list_models = [](grpc::ServerContext&, const v1::ListModelsRequest&,
                              v1::ListModelsResponse& response) {
      v1::Model& model = *response.add_models();
      model.set_name("one");
      model.set_residual("additive");
      model.set_vocab_size(50);
      model.set_max_sequence_tokens(100);
      model.set_usd_per_device_hour(3600);
      return grpc::Status::OK;
    };
    service_.generate = [](grpc::ServerContext&, const v1::GenerateRequest& request,
                           v1::GenerateResponse& response) {
      v1::Usage& usage = *response.mutable_usage();
      usage.set_prompt_tokens(request.token_ids().ids_size());
      usage.set_completion_tokens(request.max_tokens());
      const auto charge = [](double seconds, v1::PhaseUsage& phase) {
        phase.set_device_seconds(seconds);
        phase.set_cost_usd(seconds);
      };
      charge(usage.prompt_tokens(), *usage.mutable_prefill());
      charge(2.0 * (usage.completion_tokens() - 1), *usage.mutable_decode());
      return grpc::Status::OK;
    };
  }

  FakeServer server_;
  FakeInferenceService& service_ = server_.service;
};

TEST_F(DeltactlTest, GeneratePrintsTheTextAndNotesItsUsage) {
  EchoPrompts();
  const Ended ended = RunToEnd(Command({"generate", "Hello"}));
  EXPECT_EQ(ended.exit, 0) << ended.err;
  EXPECT_EQ(ended.out, "Hello\n");
  EXPECT_THAT(ended.err, StartsWith("STOP; 2 prompt tokens"));
}

TEST_F(DeltactlTest, ThePromptMayComeFromStandardInputOrAFile) {
  EchoPrompts();
  EXPECT_EQ(RunToEnd(Command({"generate"}), "from\nstdin").out, "from\nstdin\n");

  const std::string path = ::testing::TempDir() + "/deltactl_prompt.txt";
  std::ofstream(path) << "from a file";
  EXPECT_EQ(RunToEnd(Command({"generate", "--file", path})).out, "from a file\n");
}

TEST_F(DeltactlTest, TextIsShownBeforeTheEnd) {
  service_.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                                grpc::ServerWriter<v1::GenerateChunk>& writer) {
    v1::GenerateChunk chunk;
    chunk.add_samples()->set_text("early");
    writer.Write(chunk);
    return AwaitCancellation(context);
  };
  const auto process = Start(Command({"generate", "x"}));

  EXPECT_TRUE(process->WaitForOutput("early", kPatience).ok());
  process->Signal(SIGINT);

  EXPECT_EQ(process->Wait(kPatience).value_or(-1), 1);
  EXPECT_EQ(process->out(), "early\n");
  EXPECT_THAT(process->err(), StartsWith("deltactl: CANCELLED"));
}

TEST_F(DeltactlTest, GenerateAsJsonIsOneObject) {
  EchoPrompts();
  const Ended ended = RunToEnd(Command({"generate", "--prompt-ids", "1,2,3", "--json"}));

  EXPECT_EQ(ended.exit, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["token_ids"], nlohmann::json({1, 2, 3}));
  EXPECT_EQ(json["finish_reason"], "STOP");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 2);
}

TEST_F(DeltactlTest, ScoreAsJsonIsOneObject) {
  service_.score = [](grpc::ServerContext&, const v1::ScoreRequest& request,
                      v1::ScoreResponse& response) {
    for (const auto& continuation : request.continuations()) {
      response.add_continuations()->set_loglik(continuation.token_ids().ids(0));
    }
    return grpc::Status::OK;
  };
  const Ended ended = RunToEnd(
      Command({"score", "a", "--continuation-ids", "7", "--continuation-ids", "8", "--json"}));

  EXPECT_EQ(ended.exit, 0) << ended.err;
  EXPECT_EQ(nlohmann::json::parse(ended.out)["continuations"][1]["loglik"], 8);
}

TEST_F(DeltactlTest, TokenizeAndModels) {
  service_.tokenize = [](grpc::ServerContext&, const v1::TokenizeRequest& request,
                         v1::TokenizeResponse& response) {
    response.add_token_ids(request.text().size());
    response.add_pieces(request.text());
    return grpc::Status::OK;
  };
  service_.list_models = [](grpc::ServerContext&, const v1::ListModelsRequest&,
                            v1::ListModelsResponse& response) {
    response.add_models()->set_name("first");
    return grpc::Status::OK;
  };
  service_.get_model = [](grpc::ServerContext&, const v1::GetModelRequest& request,
                          v1::Model& model) {
    model.set_name(request.model());
    return grpc::Status::OK;
  };

  EXPECT_EQ(RunToEnd(Command({"tokenize", "--json"}), "abc\n").out,
            "{\"token_ids\":[4],\"pieces\":[\"abc\\n\"]}\n");
  EXPECT_THAT(RunToEnd(Command({"tokenize", "abc"})).out, HasSubstr("3  \"abc\""));
  EXPECT_THAT(RunToEnd(Command({"models"})).out, AllOf(StartsWith("NAME"), HasSubstr("first")));
  EXPECT_EQ(nlohmann::json::parse(
                RunToEnd(Command({"models", "--model", "m", "--json"})).out)["models"][0]["name"],
            "m");
}

TEST_F(DeltactlTest, CostPrintsATableAndPlotsIt) {
  ServeForADollarASecond();
  const std::string plot = ::testing::TempDir() + "/deltactl_costs.png";
  const std::vector<std::string> command = {"cost", "--batch",         "1,2", "--rounds",
                                            "1",    "--prompt-tokens", "4",   "--completion-tokens",
                                            "3"};
  std::vector<std::string> plotted = command;
  plotted.insert(plotted.end(), {"--png", plot});
  const Ended ended = RunToEnd(Command(plotted));

  EXPECT_EQ(ended.exit, 0) << ended.err;
  EXPECT_THAT(ended.out, StartsWith("USD per million tokens, at 3600 USD per device hour\n"));
  EXPECT_THAT(ended.out, HasSubstr("one    additive  1000000  1000000     2000000  2000000\n"));
  EXPECT_EQ(ended.err, "round 1 of 1, batch 1, one\nround 1 of 1, batch 2, one\n");
  std::ifstream file(plot, std::ios::binary);
  std::string magic(4, '\0');
  file.read(magic.data(), 4);
  EXPECT_EQ(magic, "\x89PNG");

  std::vector<std::string> json = command;
  json.push_back("--json");
  const Ended object = RunToEnd(Command(json));
  EXPECT_EQ(object.err, "");
  EXPECT_EQ(nlohmann::json::parse(object.out)["models"][0]["batches"][1]["batch"], 2);

  plotted.back() = "/no/such/folder/costs.png";
  const Ended unwritable = RunToEnd(Command(plotted));
  EXPECT_EQ(unwritable.exit, 1);
  EXPECT_THAT(unwritable.out, HasSubstr("one"));  // what was measured is not lost
  EXPECT_THAT(unwritable.err, HasSubstr("/no/such/folder/costs.png cannot be written"));
}

TEST_F(DeltactlTest, AnInterruptEndsAMeasurement) {
  ServeForADollarASecond();
  absl::Notification called;
  service_.generate = [&called](grpc::ServerContext& context, const v1::GenerateRequest&,
                                v1::GenerateResponse&) {
    called.Notify();
    return AwaitCancellation(context);
  };
  const auto process = Start(Command({"cost"}));
  called.WaitForNotification();
  process->Signal(SIGINT);

  EXPECT_EQ(process->Wait(kPatience).value_or(-1), 1);
  EXPECT_EQ(process->out(), "");
  EXPECT_THAT(process->err(), HasSubstr("deltactl: CANCELLED: one at batch 1"));
}

TEST_F(DeltactlTest, AnRpcErrorExitsWithOneAndIsExplained) {
  service_.generate_stream = [](grpc::ServerContext& context, const v1::GenerateRequest&,
                                grpc::ServerWriter<v1::GenerateChunk>&) {
    context.AddTrailingMetadata("deltaserve-request-id", "r-77");
    return grpc::Status(grpc::INVALID_ARGUMENT, "top_p must be in (0, 1]");
  };
  const Ended ended = RunToEnd(Command({"generate", "x", "--top-p", "7"}));

  EXPECT_EQ(ended.exit, 1);
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(ended.err, "deltactl: INVALID_ARGUMENT: top_p must be in (0, 1]\nrequest id: r-77\n");
}

TEST_F(DeltactlTest, AnErrorLeavesStandardOutputEmptyUnderJson) {
  const Ended ended = RunToEnd(Command({"score", "x", "--json"}));
  EXPECT_EQ(ended.exit, 1);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, StartsWith("deltactl: UNIMPLEMENTED: "));
}

TEST_F(DeltactlTest, TheTimeoutEndsACall) {
  service_.score = [](grpc::ServerContext& context, const v1::ScoreRequest&, v1::ScoreResponse&) {
    return AwaitCancellation(context);
  };
  const Ended ended = RunToEnd(Command({"score", "x", "--timeout", "0.05"}));
  EXPECT_EQ(ended.exit, 1);
  EXPECT_THAT(ended.err, StartsWith("deltactl: DEADLINE_EXCEEDED: "));
}

TEST(DeltactlUsageTest, UsageErrorsExitWithTwoAndHelpWithZero) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"frobnicate"},
                                             {"generate", "x", "--temperature", "warm"},
                                             {"generate", "--file", "/no/such/file"},
                                             {"tokenize", "\xff"}}) {
    const Ended ended = RunToEnd(arguments);
    EXPECT_EQ(ended.exit, 2);
    EXPECT_EQ(ended.out, "");
    EXPECT_NE(ended.err, "");
  }
  const Ended help = RunToEnd({"help", "generate"});
  EXPECT_EQ(help.exit, 0);
  EXPECT_THAT(help.out, HasSubstr("--temperature"));
  EXPECT_EQ(help.err, "");
}

TEST(DeltactlUsageTest, NoServerIsAnRpcError) {
  std::string address;
  {
    FakeServer gone;
    address = gone.address();
  }
  const Ended ended = RunToEnd({"models", "--address", address});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_THAT(ended.err, StartsWith("deltactl: UNAVAILABLE: "));
}

}  // namespace
}  // namespace deltaserve
