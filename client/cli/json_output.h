// What `deltactl --json` prints: one object a command, numbers at full precision.
//
//   generate  text, token_ids, finish_reason, usage, request_id, model, seed; with --logprobs also
//             logprobs: per token id, piece, logprob, top; with -n also samples: the same first
//             three and logprobs for each (those at the top are the first's)
//   score     token_ids, token_logprobs, loglik, is_greedy, usage, request_id, model; with --top-k
//             also top: per token a list of id, piece, logprob. The first token has null for both.
//             With continuations, these but for the last three stand in a list `continuations`
//             and only the context's token_ids at the top. With --trace also beta[layer][sublayer]
//             [token], proj and v[layer][sublayer][token][channel]; sublayer 0 is attention.
//   tokenize  token_ids, pieces
//   models    models: a list of every field of v1::Model
//   bench     what client/cli/bench_report.h says
//   cost      what client/cli/cost_output.h says
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
