// deltactl: generates and scores text with the models of a Deltaserve server.
#include <cstdlib>
#include <iostream>
#include <string>
#include <variant>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"
#include "client/cli/key_source.h"
#include "client/cli/prompt_source.h"
#include "client/cli/text_output.h"
#include "client/cpp/client.h"

int main(int argc, char** argv) {
  using namespace deltaserve;
  std::ios::sync_with_stdio(false);

  auto parsed = cli::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (const auto* exit = std::get_if<cli::EarlyExit>(&parsed)) {
    (exit->code == cli::kExitOk ? std::cout : std::cerr) << exit->message;
    return exit->code;
  }
  cli::CommandLine& command = std::get<cli::CommandLine>(parsed);
  if (absl::Status status = cli::ReadPrompt(std::cin, command); !status.ok()) {
    std::cerr << "deltactl: " << status.message() << '\n';
    return cli::kExitUsage;
  }

  const absl::StatusOr<std::string> key =
      cli::ReadKey(command.key_path, std::getenv("DELTASERVE_API_KEY"));
  if (!key.ok()) {
    std::cerr << "deltactl: " << key.status().message() << '\n';
    return cli::kExitUsage;
  }

  ClientOptions options;
  // What a load test sees refused must not be hidden by another attempt.
  options.retry = !std::holds_alternative<cli::CommandLine::Bench>(command.request);
  if (command.tls) {
    const auto credentials = MakeTlsCredentials(*command.tls);
    if (!credentials.ok()) {
      std::cerr << "deltactl: --tls: " << credentials.status().message() << '\n';
      return cli::kExitUsage;
    }
    options.credentials = *credentials;
  }

  const cli::Interrupt interrupt;
  const Client client = Client::Connect(command.address, options);
  const absl::Status status =
      cli::RunCommand(command, client, interrupt.token(), *key, std::cout, std::cerr);
  if (!status.ok()) cli::PrintError(status, std::cerr);
  std::cout.flush();
  return status.ok() && std::cout ? cli::kExitOk : cli::kExitRpcError;
}
