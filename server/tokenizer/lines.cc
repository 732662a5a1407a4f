#include "server/tokenizer/lines.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace deltaserve {

absl::Status ForEachLine(
    std::string_view text,
    absl::FunctionRef<absl::Status(int64_t number, std::string_view line)> visit) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (absl::Status status = visit(number, line); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("line ", number, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace deltaserve
