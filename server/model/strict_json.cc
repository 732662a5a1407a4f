#include "server/model/strict_json.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 8;

// Sees every event of the document once and keeps nothing but the keys of the open objects.
class Validator : public nlohmann::json_sax<json> {
 public:
  const absl::Status& status() const { return status_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }

  bool key(string_t& key) override {
    last_key_ = key;
    if (open_.back().insert(key).second) return true;
    status_ = absl::InvalidArgumentError(absl::StrCat("key ", Quoted(key), " is given twice"));
    return false;
  }

  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    std::string reason = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    reason.erase(0, reason.find(']') + 2);
    std::replace_if(
        reason.begin(), reason.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    status_ = absl::InvalidArgumentError(absl::StrCat(
        "malformed JSON: ", reason, last_key_.empty() ? "" : ", after key " + Quoted(last_key_)));
    return false;
  }

 private:
  bool Enter() {
    open_.emplace_back();
    if (open_.size() <= kMaxDepth) return true;
    status_ = absl::InvalidArgumentError(
        absl::StrCat("JSON is nested deeper than ", kMaxDepth, " levels"));
    return false;
  }
  bool Leave() {
    open_.pop_back();
    return true;
  }

  std::vector<absl::flat_hash_set<std::string>> open_;  // keys so far; an array's set stays empty
  std::string last_key_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(std::string_view text) {
  Validator validator;
  if (!json::sax_parse(text, &validator)) return validator.status();
  return json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
}

std::string Show(const json& value) {
  constexpr size_t kMaxLength = 80;
  std::string text =
      value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = absl::StrCat(text.substr(0, kMaxLength), "...");
  return text;
}

std::string Quoted(std::string_view name) {
  constexpr size_t kMaxLength = 200;
  const bool shortened = name.size() > kMaxLength;
  return absl::StrCat("\"", absl::CHexEscape(std::string(name.substr(0, kMaxLength))),
                      shortened ? "...\"" : "\"");
}

}  // namespace deltaserve
