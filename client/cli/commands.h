#ifndef DELTASERVE_CLIENT_CLI_COMMANDS_H_
#define DELTASERVE_CLIENT_CLI_COMMANDS_H_

#include <ostream>
#include <stop_token>

#include "absl/status/status.h"
#include "client/cli/command_line.h"
#include "client/cpp/client.h"

namespace deltaserve::cli {

// Makes the call that `command` asks for. The result goes to `out`, remarks (usage, times) to
// `notes`; with --json there are none, and nothing goes to `out` unless the call ends well. Returns
// how the call ended: CANCELLED where `interrupt` was stopped.
absl::Status RunCommand(const CommandLine& command, const Client& client, std::stop_token interrupt,
                        std::ostream& out, std::ostream& notes);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COMMANDS_H_
