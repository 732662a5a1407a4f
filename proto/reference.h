#ifndef DELTASERVE_PROTO_REFERENCE_H_
#define DELTASERVE_PROTO_REFERENCE_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

// The files that docs/reference.md shows, in its order, relative to the folder proto.
std::vector<std::string> ReferenceFiles();

// A page in Markdown of every service, message, field and enum of `files`, with what their comments
// say. A comment before a field that has another behind it is a heading for it and those that
// follow. `descriptors` is what protoc makes of the files and their imports (--descriptor_set_out),
// comments included (--include_source_info). INVALID_ARGUMENT: it is not that; NOT_FOUND: a file is
// not in it.
absl::StatusOr<std::string> ReferencePage(const std::filesystem::path& descriptors,
                                          const std::vector<std::string>& files);

}  // namespace deltaserve

#endif  // DELTASERVE_PROTO_REFERENCE_H_
