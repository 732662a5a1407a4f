#ifndef DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_
#define DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_

#include <istream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/command_line.h"

namespace deltaserve::cli {

// Puts the text that `command` still lacks into its request: all bytes of its file or of
// `standard_input`, a last newline included. Then checks every text of the request: the wire takes
// UTF-8 only. INVALID_ARGUMENT or NOT_FOUND, naming the culprit.
absl::Status ReadPrompt(std::istream& standard_input, CommandLine& command);

// The lines of a file, but for empty ones. NOT_FOUND; INVALID_ARGUMENT where it is not UTF-8 or has
// none.
absl::StatusOr<std::vector<std::string>> ReadPrompts(const std::string& path);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_PROMPT_SOURCE_H_
