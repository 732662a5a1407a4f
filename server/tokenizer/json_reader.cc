#include "server/tokenizer/json_reader.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

using nlohmann::json;

// No tokenizer nests deeper; bounds the recursion of whatever walks the values.
constexpr int kMaxDepth = 16;

// Looks at what nlohmann::json lets pass: repeated keys, of which the last would win, and depth.
class StructureCheck {
 public:
  // The parser's callback: whether to keep the value.
  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (!status_.ok()) return false;
    switch (event) {
      case json::parse_event_t::object_start:
        keys_.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        if (depth >= kMaxDepth) {
          status_ = absl::InvalidArgumentError(
              absl::StrCat("malformed JSON: nested deeper than ", kMaxDepth));
        }
        break;
      case json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second) {
          status_ = absl::InvalidArgumentError(
              absl::StrCat("malformed JSON: an object has the key ", QuotedBytes(key), " twice"));
        }
        break;
      }
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      default:
        break;
    }
    return status_.ok();
  }

  const absl::Status& status() const { return status_; }

 private:
  std::vector<absl::flat_hash_set<std::string>> keys_;  // of the objects being read
  absl::Status status_;
};

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text) {
  StructureCheck check;
  try {
    json value = json::parse(text.begin(), text.end(), std::ref(check));
    if (!check.status().ok()) return check.status();
    return value;
  } catch (const json::exception& error) {
    if (!check.status().ok()) return check.status();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."; it quotes what it
    // read, of any length and maybe not UTF-8.
    constexpr size_t kMaxMessage = 200;
    const std::string message = error.what();
    return absl::InvalidArgumentError(absl::StrCat(
        "malformed JSON: ", absl::CHexEscape(message.substr(message.find(' ') + 1, kMaxMessage))));
  }
}

JsonReader::JsonReader(const json& value, std::string path)
    : object_(&value), path_(std::move(path)) {
  if (value.is_object()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(path_.empty() ? "the file" : path_, " is not a JSON object"));
}

std::string JsonReader::PathTo(std::string_view key) const {
  std::string path = path_;
  if (!path.empty()) path += '.';
  return path.append(key);
}

void JsonReader::Fail(std::string_view key, const std::string& message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(PathTo(key), " ", message));
  }
}

const json* JsonReader::Find(std::string_view key) const {
  if (!object_->is_object()) return nullptr;
  const auto found = object_->find(std::string(key));
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

void JsonReader::AllowKeys(std::initializer_list<std::string_view> keys) {
  if (!object_->is_object()) return;
  for (const auto& [key, value] : object_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      Fail(QuotedBytes(key), "is not a known key");
    }
  }
}

void JsonReader::AllowNullOr(std::string_view key, const json& value) {
  const json* found = Find(key);
  if (found == nullptr || *found == value) return;
  Fail(key,
       absl::StrCat("is ", QuotedBytes(found->dump()), "; only ", value.dump(), " is supported"));
}

bool JsonReader::ReadBool(std::string_view key, bool fallback) {
  const json* found = Find(key);
  if (found == nullptr) return fallback;
  if (found->is_boolean()) return found->get<bool>();
  Fail(key, "is not a boolean");
  return fallback;
}

void JsonReader::Require(std::string_view key, const json& value) {
  if (Find(key) == nullptr) {
    Fail(key, absl::StrCat("is missing; only ", value.dump(), " is supported"));
  }
  AllowNullOr(key, value);
}

const json* JsonReader::Get(std::string_view key, json::value_t type) {
  const json* found = Find(key);
  if (found == nullptr) {
    Fail(key, "is missing");
  } else if (found->type() != type) {
    Fail(key, absl::StrCat("is not of the type ", json(type).type_name()));
    return nullptr;
  }
  return found;
}

}  // namespace deltaserve
