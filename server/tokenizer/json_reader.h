// Strict reading of JSON settings: every key is known, every value one that is understood.
#ifndef DELTASERVE_SERVER_TOKENIZER_JSON_READER_H_
#define DELTASERVE_SERVER_TOKENIZER_JSON_READER_H_

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace deltaserve {

// INVALID_ARGUMENT names the place of a syntax error, and a key that an object has twice.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// A JSON object and the path by which errors name it. The first error sticks, so that a run of
// calls needs one look at status() at its end.
class JsonReader {
 public:
  // `value` must outlive the reader. `path` is "" at the root.
  JsonReader(const nlohmann::json& value, std::string path);

  void AllowKeys(std::initializer_list<std::string_view> keys);
  // `key` is absent, null or `value`.
  void AllowNullOr(std::string_view key, const nlohmann::json& value);
  // `key` is absent or a boolean.
  bool ReadBool(std::string_view key, bool fallback);
  void Require(std::string_view key, const nlohmann::json& value);
  // The value of `key`; nullptr, and an error, unless it is there and of the type.
  const nlohmann::json* Get(std::string_view key, nlohmann::json::value_t type);

  // The value of `key`, or nullptr when it is absent or null.
  const nlohmann::json* Find(std::string_view key) const;
  std::string PathTo(std::string_view key) const;
  const absl::Status& status() const { return status_; }

 private:
  void Fail(std::string_view key, const std::string& message);

  const nlohmann::json* object_;
  std::string path_;
  absl::Status status_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_JSON_READER_H_
