// What `deltactl --json` prints: one object a command, numbers at full precision. The fields that
// scripts may rely on are listed in docs/deltactl.md.
#ifndef DELTASERVE_CLIENT_CLI_JSON_OUTPUT_H_
#define DELTASERVE_CLIENT_CLI_JSON_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "deltaserve/v1/inference.pb.h"

namespace deltaserve::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const v1::GenerateResponse& response);
Json ToJson(const v1::ScoreResponse& response);
Json ToJson(const v1::TokenizeResponse& response);
Json ToJson(const std::vector<v1::Model>& models);

// On one line. Bytes that are not UTF-8 (a token may hold part of a character) become U+FFFD.
std::string Dump(const Json& json);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_JSON_OUTPUT_H_
