#ifndef DELTASERVE_CLIENT_CLI_COMMAND_LINE_H_
#define DELTASERVE_CLIENT_CLI_COMMAND_LINE_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/bench_load.h"
#include "client/cli/cost_measurement.h"
#include "client/cpp/tls_credentials.h"
#include "deltaserve/v1/admin.pb.h"
#include "deltaserve/v1/inference.pb.h"
#include "deltaserve/v1/keys.pb.h"

namespace deltaserve::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitRpcError = 1;
inline constexpr int kExitUsage = 2;

// What `deltactl` was asked to do. A flag that was not given leaves its field of the request unset:
// the defaults are the server's.
struct CommandLine {
  // Adds a key to the file of a server's --keys. Not a call.
  struct AddKey {
    std::string path;
    v1::KeysFile::Tenant tenant;
    bool admin = false;
  };
  // Puts a load on the server and measures how it bears it.
  struct Bench {
    BenchLoad load;
    std::string prompts_path;  // of texts, one a line; empty: random ids
    std::string html_path;     // of a page with plots; empty: none
  };
  // Measures what tokens cost, by many calls.
  struct Cost {
    std::vector<std::string> models;  // none: all
    CostLoad load;
    std::string png_path;  // of a plot; empty: none
  };
  // Asks whether the server, or one of its models, serves.
  struct CheckHealth {
    std::string model;  // empty: the server
  };
  using Request = std::variant<v1::GenerateRequest, v1::ScoreRequest, v1::TokenizeRequest,
                               v1::ListModelsRequest, v1::GetModelRequest, v1::GetUsageRequest,
                               AddKey, Bench, Cost, CheckHealth>;

  std::string address = "127.0.0.1:50051";
  absl::Duration timeout = absl::InfiniteDuration();
  // The connection has TLS, with these files; unset: none.
  std::optional<ClientTlsFiles> tls;
  bool json = false;
  bool csv = false;
  // Where the caller's key is to be read from; unset: from the environment.
  std::optional<std::string> key_path;
  // Where the request's text is still to be read from: a path, or "-" for standard input. Unset:
  // the request has its text or ids already, or takes none.
  std::optional<std::string> text_path;
  Request request;
};

// Help that was asked for, or what is wrong with the usage.
struct EarlyExit {
  int code = kExitOk;
  std::string message;  // for standard output where the code is kExitOk, else for standard error
};

// `arguments` are those after the program's name. Only their form is judged here (kExitUsage); the
// ranges of values are the server's to judge.
std::variant<CommandLine, EarlyExit> ParseCommandLine(std::vector<std::string> arguments);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COMMAND_LINE_H_
