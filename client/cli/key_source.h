#ifndef DELTASERVE_CLIENT_CLI_KEY_SOURCE_H_
#define DELTASERVE_CLIENT_CLI_KEY_SOURCE_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace deltaserve::cli {

// The caller's API key, without the line's end: from the file where there is a path, else
// `environment`, which may be null; empty: there is none. Not from the command line, which others
// on the machine can see. INVALID_ARGUMENT: the file cannot be read, or is empty.
absl::StatusOr<std::string> ReadKey(const std::optional<std::string>& path,
                                    const char* environment);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_KEY_SOURCE_H_
