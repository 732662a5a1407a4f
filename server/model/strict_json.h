// JSON documents of a model folder, parsed without surprises.
#ifndef DELTASERVE_SERVER_MODEL_STRICT_JSON_H_
#define DELTASERVE_SERVER_MODEL_STRICT_JSON_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace deltaserve {

// INVALID_ARGUMENT, saying what and where, for malformed text, a key given twice in one object,
// numbers no double can hold, and nesting deeper than eight levels. Never throws.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text);

// How a value is shown in an error: its JSON text, shortened.
std::string Show(const nlohmann::json& value);

// A name out of a file, quoted and escaped for an error message.
std::string Quoted(std::string_view name);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_STRICT_JSON_H_
