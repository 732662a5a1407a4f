#include "client/cli/prompt_source.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace deltaserve::cli {
namespace {

std::string ReadAll(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
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
  void operator()(v1::ListModelsRequest&) {}
  void operator()(v1::GetModelRequest&) {}
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
  absl::Status operator()(const v1::ListModelsRequest&) const { return absl::OkStatus(); }
  absl::Status operator()(const v1::GetModelRequest&) const { return absl::OkStatus(); }
};

}  // namespace

absl::Status ReadPrompt(std::istream& standard_input, CommandLine& command) {
  if (command.text_path == "-") {
    std::visit(SetText{ReadAll(standard_input)}, command.request);
  } else if (command.text_path) {
    std::ifstream file(*command.text_path, std::ios::binary);
    std::string text = ReadAll(file);
    if (!file) {
      return absl::NotFoundError(
          absl::StrCat("cannot read ", *command.text_path, ": ", std::strerror(errno)));
    }
    std::visit(SetText{std::move(text)}, command.request);
  }
  return std::visit(CheckTexts(), command.request);
}

}  // namespace deltaserve::cli
