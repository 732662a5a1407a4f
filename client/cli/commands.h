#ifndef DELTASERVE_CLIENT_CLI_COMMANDS_H_
#define DELTASERVE_CLIENT_CLI_COMMANDS_H_

#include <ostream>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "client/cli/command_line.h"
#include "client/cpp/client.h"

namespace deltaserve::cli {

// Does what `command` asks for: a call, in most cases, with `api_key` where it is not empty. The
// result goes to `out`, remarks (usage, times) to `notes`; with --json there are none, and nothing
// goes to `out` unless the call ends well. Returns how the call ended: CANCELLED where `interrupt`
// was stopped.
absl::Status RunCommand(const CommandLine& command, const Client& client, std::stop_token interrupt,
                        const std::string& api_key, std::ostream& out, std::ostream& notes);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COMMANDS_H_
