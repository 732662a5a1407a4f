#ifndef DELTASERVE_SERVER_TOKENIZER_LINES_H_
#define DELTASERVE_SERVER_TOKENIZER_LINES_H_

#include <cstdint>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace deltaserve {

// Calls `visit` with every line of `text` and its number from 1 on, until one fails: then the
// error, behind the line's number. Lines end in LF or CRLF, which the last one may lack.
absl::Status ForEachLine(
    std::string_view text,
    absl::FunctionRef<absl::Status(int64_t number, std::string_view line)> visit);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_LINES_H_
