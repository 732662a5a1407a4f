// How options are added to a command line, and their values read.
#ifndef DELTASERVE_CLIENT_CLI_COMMAND_OPTIONS_H_
#define DELTASERVE_CLIENT_CLI_COMMAND_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace deltaserve::cli {

// CLI11 splits the command line and writes the help. What values mean is decided here: its own
// conversions read "010" as eight and "{}" as nothing.
using Handler = std::function<void(const std::string& value)>;

// A lone "++" means something to CLI11 wherever it is not an option's value. It goes past it in
// this disguise.
inline constexpr char kPlusPlus[] = "\x01++";

// Thrown by a Handler: why it does not take the value.
struct BadValue {
  std::string why;
};

template <typename T>
T ParseNumber(absl::string_view text) {
  T number;
  if constexpr (std::is_same_v<T, float>) {
    if (!absl::SimpleAtof(text, &number)) throw BadValue{absl::StrCat(text, " is not a number")};
  } else if (!absl::SimpleAtoi(text, &number)) {
    throw BadValue{absl::StrCat(text, " is not an integer in range")};
  }
  return number;
}

inline int64_t ParseCount(absl::string_view text, int64_t least, int64_t most) {
  const int64_t count = ParseNumber<int64_t>(text);
  if (count < least || count > most) {
    throw BadValue{absl::StrCat(count, " is not in ", least, " to ", most)};
  }
  return count;
}

inline CLI::Option* AddOption(CLI::App& command, const std::string& name,
                              const std::string& value_name, const std::string& help,
                              Handler handle) {
  const auto handle_all = [name, handle](const std::vector<std::string>& values) {
    try {
      for (const std::string& value : values) handle(value == kPlusPlus ? "++" : value);
    } catch (const BadValue& bad) {
      throw CLI::ValidationError(name, bad.why);
    }
    return true;
  };
  return command.add_option(name, handle_all, help)->option_text(value_name);
}

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COMMAND_OPTIONS_H_
