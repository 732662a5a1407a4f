#include "tests/support/golden_fixture.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"
#include "server/model/safetensors.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

GoldenPrompt ParsePrompt(const json& fields) {
  GoldenPrompt prompt;
  fields.at("name").get_to(prompt.name);
  fields.at("tokens").get_to(prompt.tokens);
  fields.at("token_logprobs").get_to(prompt.token_logprobs);
  fields.at("loglik").get_to(prompt.loglik);
  fields.at("argmax").get_to(prompt.argmax);
  fields.at("greedy").get_to(prompt.greedy);
  fields.at("greedy_min_margin").get_to(prompt.greedy_min_margin);
  fields.at("traced").get_to(prompt.traced);
  return prompt;
}

absl::Status LoadPrompts(const fs::path& path, GoldenFixture& fixture) {
  std::ifstream file(path);
  try {
    const json document = json::parse(file);
    document.at("ddl_variant").get_to(fixture.ddl_variant);
    document.at("prefix_consistent").get_to(fixture.prefix_consistent);
    for (const json& prompt : document.at("prompts")) {
      fixture.prompts.push_back(ParsePrompt(prompt));
    }
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", error.what()));
  }
  return absl::OkStatus();
}

absl::Status LoadTensors(const fs::path& path, GoldenFixture& fixture) {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  for (const auto& [name, entry] : file->tensors()) {
    if (entry.dtype != DType::kF32) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", name, " is not F32"));
    }
    GoldenTensor tensor{entry.shape, std::vector<float>(entry.shape.NumElements())};
    const absl::Status status =
        file->Read(name, 0,
                   absl::MakeSpan(reinterpret_cast<std::byte*>(tensor.values.data()),
                                  tensor.values.size() * sizeof(float)));
    if (!status.ok()) return status;
    fixture.tensors.emplace(name, std::move(tensor));
  }
  return absl::OkStatus();
}

}  // namespace

const GoldenTensor* GoldenFixture::Find(const GoldenPrompt& prompt, std::string_view tensor) const {
  const auto found = tensors.find(prompt.name + "." + std::string(tensor));
  return found == tensors.end() ? nullptr : &found->second;
}

std::vector<fs::path> GoldenFixtureDirs() {
  std::vector<fs::path> dirs;
  for (const auto& entry :
       fs::directory_iterator(fs::path(DELTASERVE_SOURCE_DIR) / "tests/golden")) {
    if (fs::exists(entry.path() / "golden.json")) dirs.push_back(entry.path());
  }
  std::sort(dirs.begin(), dirs.end());
  return dirs;
}

absl::StatusOr<GoldenFixture> LoadGoldenFixture(const fs::path& dir) {
  GoldenFixture fixture;
  fixture.dir = dir;
  absl::Status status = LoadPrompts(dir / "golden.json", fixture);
  status.Update(LoadTensors(dir / "golden.safetensors", fixture));
  if (!status.ok()) return status;
  return fixture;
}

}  // namespace deltaserve
