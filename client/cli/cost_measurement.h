// What `deltactl cost` measures: what the tokens of a running server's models cost.
#ifndef DELTASERVE_CLIENT_CLI_COST_MEASUREMENT_H_
#define DELTASERVE_CLIENT_CLI_COST_MEASUREMENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"

namespace deltaserve::cli {

// The load under which costs are measured.
struct CostLoad {
  std::vector<int64_t> batches = {1, 8, 32};  // requests under way at once
  // Of each request. Unset: 128 and 64, or what fits into the shortest of the models' contexts.
  std::optional<int64_t> prompt_tokens = {};
  std::optional<int64_t> completion_tokens = {};  // at least 2
  int64_t rounds = 3;                             // in which all models take turns
};

// Of a million tokens.
struct TokenCost {
  double device_seconds = 0;
  std::optional<double> usd = {};  // where the server has a price
  // This over the additive twin's, where there is one.
  std::optional<double> of_additive = {};
};

struct BatchCost {
  int64_t batch = 0;
  TokenCost prompt;
  TokenCost completion;
};

struct ModelCost {
  v1::Model model;
  // The first additive model of the same shape; empty where there is none, and for itself.
  std::string additive;
  std::vector<BatchCost> batches;
};

struct CostReport {
  CostLoad load;                              // as it was: with its numbers of tokens
  std::optional<double> usd_per_device_hour;  // as the server says
  bool has_usd = false;                       // every cost is known in USD
  std::vector<ModelCost> models;
};

// Called once a measurement: "round 1 of 3, batch 8, NAME".
using CostProgress = std::function<void(const std::string& step)>;

// Calls the models named, or all, in the order of the server's list, each with one batch at a time.
// All numbers are sums of what the answers' usage says, so that nothing of the way to the server is
// in them, nor of other callers' work but for what they shared steps with:
//   prompt       prefill ÷ prompt tokens that were computed
//   completion   decode ÷ completion tokens but each request's first, which its prompt brings
// and medians over the rounds, those of a ratio over the ratios within a round. The first request
// of each of `batch` callers counts; each goes on with further ones, so that the batch stays full,
// until the last one that counts has ended.
//
// `options` are those of all calls together: its timeout bounds the whole. The first call that
// fails ends it. INVALID_ARGUMENT where the load does not fit a model, NOT_FOUND for a model that
// is not there.
absl::StatusOr<CostReport> MeasureCosts(const Client& client,
                                        const std::vector<std::string>& models,
                                        const CostLoad& load, const CallOptions& options,
                                        const CostProgress& progress);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COST_MEASUREMENT_H_
