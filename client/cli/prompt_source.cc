#include "client/cli/prompt_source.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace deltaserve::cli {
namespace {

absl::StatusOr<std::string> ReadAll(std::istream& in, const std::string& name) {
  std::string text;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof(buffer)), in.gcount() > 0) text.append(buffer, in.gcount());
  if (!in.eof()) return absl::NotFoundError(absl::StrCat("cannot read ", name));
  return text;
}

absl::Status CheckUtf8(absl::string_view what, const std::string& text) {
  try {
    nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is not UTF-8: ", error.what()));
  }
  return absl::OkStatus();
}

struct SetText {
  std::string text;

  void operator()(v1::GenerateRequest& request) { request.set_text(std::move(text)); }
  void operator()(v1::ScoreRequest& request) { request.set_text(std::move(text)); }
  void operator()(v1::TokenizeRequest& request) { request.set_text(std::move(text)); }
  // The others take none.
  template <typename Other>
  void operator()(Other&) {}
};

struct CheckTexts {
  absl::Status operator()(const v1::GenerateRequest& request) const {
    for (const std::string& stop : request.stop()) {
      if (absl::Status status = CheckUtf8("--stop", stop); !status.ok()) return status;
    }
    return CheckUtf8("the prompt", request.text());
  }
  absl::Status operator()(const v1::ScoreRequest& request) const {
    for (const auto& continuation : request.continuations()) {
      absl::Status status = CheckUtf8("--continuation", continuation.text());
      if (!status.ok()) return status;
    }
    return CheckUtf8("the text", request.text());
  }
  absl::Status operator()(const v1::TokenizeRequest& request) const {
    return CheckUtf8("the text", request.text());
  }
  // The others have none.
  template <typename Other>
  absl::Status operator()(const Other&) const {
    return absl::OkStatus();
  }
};

}  // namespace

absl::Status ReadPrompt(std::istream& standard_input, CommandLine& command) {
  if (command.text_path) {
    std::ifstream file;
    if (command.text_path != "-") file.open(*command.text_path, std::ios::binary);
    absl::StatusOr<std::string> text = command.text_path == "-"
                                           ? ReadAll(standard_input, "standard input")
                                           : ReadAll(file, *command.text_path);
    if (!text.ok()) return text.status();
    std::visit(SetText{*std::move(text)}, command.request);
  }
  return std::visit(CheckTexts(), command.request);
}

absl::StatusOr<std::vector<std::string>> ReadPrompts(const std::string& path) {
  std::ifstream file(path);
  const absl::StatusOr<std::string> text = ReadAll(file, path);
  if (!text.ok()) return text.status();
  if (absl::Status status = CheckUtf8(path, *text); !status.ok()) return status;
  std::vector<std::string> prompts = absl::StrSplit(*text, '\n', absl::SkipEmpty());
  if (prompts.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " has no prompts"));
  return prompts;
}

}  // namespace deltaserve::cli
