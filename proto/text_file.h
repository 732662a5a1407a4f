#ifndef DELTASERVE_PROTO_TEXT_FILE_H_
#define DELTASERVE_PROTO_TEXT_FILE_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

// Files in protobuf text format.

// NOT_FOUND: it cannot be read.
absl::StatusOr<std::string> ReadText(const std::string& path);

// What `text`, of the file `path`, says. INVALID_ARGUMENT: the file, line, column, and what is
// wrong.
absl::Status ParseText(const std::string& path, const std::string& text,
                       google::protobuf::Message* message);

}  // namespace deltaserve

#endif  // DELTASERVE_PROTO_TEXT_FILE_H_
