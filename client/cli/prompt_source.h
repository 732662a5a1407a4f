#ifndef DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_
#define DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_

#include <istream>

#include "absl/status/status.h"
#include "client/cli/command_line.h"

namespace deltaserve::cli {

// Puts the text that `command` still lacks into its request: all bytes of its file or of
// `standard_input`, a last newline included. Then checks every text of the request: the wire takes
// UTF-8 only. INVALID_ARGUMENT or NOT_FOUND, naming the culprit.
absl::Status ReadPrompt(std::istream& standard_input, CommandLine& command);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_
