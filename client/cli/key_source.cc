#include "client/cli/key_source.h"

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace deltaserve::cli {

absl::StatusOr<std::string> ReadKey(const std::optional<std::string>& path,
                                    const char* environment) {
  if (!path) return std::string(environment == nullptr ? "" : environment);
  std::ifstream file(*path);
  std::string key;
  std::getline(file, key);
  absl::StripAsciiWhitespace(&key);
  if (key.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--key-file: there is no key in ", *path));
  }
  return key;
}

}  // namespace deltaserve::cli
