#include "client/cli/cost_measurement.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <stop_token>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace deltaserve::cli {
namespace {

constexpr int64_t kPromptTokens = 128;
constexpr int64_t kCompletionTokens = 64;

// Both at least 1 and 2.
struct Lengths {
  int64_t prompt = 0;
  int64_t completion = 0;
};

// What is spent on tokens of one kind.
struct Spent {
  int64_t tokens = 0;
  double device_seconds = 0;
  std::optional<double> usd = 0;

  void Add(int64_t more_tokens, const v1::PhaseUsage& phase) {
    tokens += more_tokens;
    device_seconds += phase.device_seconds();
    usd = usd && phase.has_cost_usd() ? std::optional(*usd + phase.cost_usd()) : std::nullopt;
  }

  TokenCost OfAMillion() const {
    const double scale = 1e6 / static_cast<double>(std::max<int64_t>(1, tokens));
    TokenCost cost;
    cost.device_seconds = device_seconds * scale;
    if (usd) cost.usd = *usd * scale;
    return cost;
  }
};

struct SpentOnBatch {
  Spent prompt, completion;
};

absl::Status Annotated(const absl::Status& status, const std::string& where) {
  absl::Status annotated(status.code(), absl::StrCat(where, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    annotated.SetPayload(type, payload);
  });
  return annotated;
}

// `batch` callers of one model, used once.
class Callers {
 public:
  Callers(const Client& client, const v1::Model& model, const Lengths& lengths,
          const CallOptions& options, absl::Time deadline)
      : client_(client), model_(model), lengths_(lengths), options_(options), deadline_(deadline) {}

  absl::StatusOr<SpentOnBatch> Run(int64_t batch) {
    // So that caches are warm, and whom an earlier batch cancelled has left.
    absl::StatusOr<v1::GenerateResponse> first =
        client_.Generate(Request({1, 2}), Options(options_.cancellation));
    if (!first.ok()) return first.status();

    const std::stop_callback on_interrupt(options_.cancellation, [this] { stop_.request_stop(); });
    still_counted_ = batch;
    {
      std::vector<std::jthread> callers;
      for (int64_t i = 0; i < batch; ++i) callers.emplace_back([this] { Call(); });
    }
    if (!status_.ok()) return status_;
    return spent_;
  }

 private:
  void Call() {
    for (bool counts = true; counts || !stop_.stop_requested(); counts = false) {
      const auto response = client_.Generate(Request(lengths_), Options(stop_.get_token()));
      const std::lock_guard lock(mutex_);
      // The first failure says why; what it made the others end with does not.
      if (!counts && stop_.stop_requested()) return;
      if (absl::Status status = Check(response); !status.ok()) {
        if (status_.ok()) status_ = std::move(status);
        stop_.request_stop();
        return;
      }
      if (!counts) continue;
      const v1::Usage& usage = response->usage();
      spent_.prompt.Add(usage.prompt_tokens() - usage.cached_prompt_tokens(), usage.prefill());
      spent_.completion.Add(usage.completion_tokens() - 1, usage.decode());
      if (--still_counted_ == 0) stop_.request_stop();
    }
  }

  // A prompt that there never was before, so that nothing of it is cached.
  v1::GenerateRequest Request(const Lengths& lengths) const {
    v1::GenerateRequest request;
    request.set_model(model_.name());
    std::minstd_rand random(std::random_device{}());
    std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(model_.vocab_size()) - 1);
    for (int64_t i = 0; i < lengths.prompt; ++i) {
      request.mutable_token_ids()->add_ids(id(random));
    }
    request.set_max_tokens(static_cast<int32_t>(lengths.completion));
    request.set_ignore_eos(true);
    request.set_temperature(0);
    return request;
  }

  absl::Status Check(const absl::StatusOr<v1::GenerateResponse>& response) const {
    if (!response.ok()) return response.status();
    if (response->usage().completion_tokens() == lengths_.completion) return absl::OkStatus();
    const auto reason = response->samples_size() > 0 ? response->samples(0).finish_reason()
                                                     : v1::FINISH_REASON_UNSPECIFIED;
    return absl::FailedPreconditionError(absl::StrCat(
        "a request ended with ", v1::FinishReason_Name(reason), " after ",
        response->usage().completion_tokens(), " of ", lengths_.completion, " tokens"));
  }

  CallOptions Options(std::stop_token cancellation) const {
    CallOptions options = options_;
    options.timeout = deadline_ - absl::Now();
    options.cancellation = std::move(cancellation);
    return options;
  }

  const Client& client_;
  const v1::Model& model_;
  const Lengths lengths_;
  const CallOptions& options_;
  const absl::Time deadline_;
  std::stop_source stop_;  // of whatever does not count, and of all after a failure

  std::mutex mutex_;  // guards what follows
  absl::Status status_;
  SpentOnBatch spent_;
  int64_t still_counted_ = 0;
};

absl::StatusOr<std::vector<v1::Model>> Select(std::vector<v1::Model> served,
                                              const std::vector<std::string>& names) {
  if (names.empty()) return served;
  const auto named = [](const std::string& name) {
    return [&name](const v1::Model& model) { return model.name() == name; };
  };
  for (const std::string& name : names) {
    if (std::any_of(served.begin(), served.end(), named(name))) continue;
    const auto append_name = [](std::string* out, const v1::Model& model) {
      absl::StrAppend(out, model.name());
    };
    return absl::NotFoundError(absl::StrCat("model ", name, " is not served; there are ",
                                            absl::StrJoin(served, ", ", append_name)));
  }
  std::vector<v1::Model> selected;
  for (v1::Model& model : served) {
    if (std::any_of(names.begin(), names.end(),
                    [&](const auto& name) { return named(name)(model); })) {
      selected.push_back(std::move(model));
    }
  }
  return selected;
}

absl::StatusOr<Lengths> LengthsThatFit(const CostLoad& load, const std::vector<v1::Model>& models) {
  const v1::Model& shortest =
      *std::min_element(models.begin(), models.end(), [](const auto& a, const auto& b) {
        return a.max_sequence_tokens() < b.max_sequence_tokens();
      });
  const int64_t most = shortest.max_sequence_tokens();
  Lengths lengths;
  lengths.completion =
      load.completion_tokens.value_or(std::clamp<int64_t>(most / 3, 2, kCompletionTokens));
  lengths.prompt =
      load.prompt_tokens.value_or(std::clamp<int64_t>(most - lengths.completion, 1, kPromptTokens));
  if (lengths.prompt >= 1 && lengths.completion >= 2 &&
      lengths.prompt <= most - lengths.completion) {
    return lengths;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "prompts of ", lengths.prompt, " tokens (at least 1) and completions of ", lengths.completion,
      " (at least 2) do not fit into the ", most, " tokens of ", shortest.name()));
}

// One that differs from `model` in its residual connections alone.
bool IsAdditiveTwin(const v1::Model& candidate, const v1::Model& model) {
  const auto shape = [](const v1::Model& m) {
    return std::tuple(m.num_layers(), m.hidden_size(), m.num_heads(), m.head_dim(), m.vocab_size(),
                      m.dtype(), m.device());
  };
  return candidate.residual() == "additive" && model.residual() != "additive" &&
         shape(candidate) == shape(model);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// What a model's tokens of one kind cost at one batch, by round.
using Rounds = std::vector<TokenCost>;

TokenCost Summarize(const Rounds& rounds, const Rounds* additive) {
  std::vector<double> seconds, usd, ratios;
  for (size_t i = 0; i < rounds.size(); ++i) {
    seconds.push_back(rounds[i].device_seconds);
    if (rounds[i].usd) usd.push_back(*rounds[i].usd);
    if (additive == nullptr) continue;
    const TokenCost& other = (*additive)[i];
    const bool in_usd = rounds[i].usd && other.usd;
    const double divisor = in_usd ? *other.usd : other.device_seconds;
    if (divisor > 0) ratios.push_back((in_usd ? *rounds[i].usd : seconds.back()) / divisor);
  }
  TokenCost cost;
  cost.device_seconds = Median(std::move(seconds));
  if (usd.size() == rounds.size()) cost.usd = Median(std::move(usd));
  if (!ratios.empty()) cost.of_additive = Median(std::move(ratios));
  return cost;
}

}  // namespace

absl::StatusOr<CostReport> MeasureCosts(const Client& client, const std::vector<std::string>& names,
                                        const CostLoad& load, const CallOptions& options,
                                        const CostProgress& progress) {
  const absl::Time deadline = absl::Now() + options.timeout;
  absl::StatusOr<std::vector<v1::Model>> served = client.ListModels(options);
  if (!served.ok()) return served.status();
  absl::StatusOr<std::vector<v1::Model>> models = Select(*std::move(served), names);
  if (!models.ok()) return models.status();
  if (models->empty()) return absl::FailedPreconditionError("the server has no models");
  const absl::StatusOr<Lengths> lengths = LengthsThatFit(load, *models);
  if (!lengths.ok()) return lengths.status();

  struct Cell {
    Rounds prompt, completion;
  };
  std::vector<std::vector<Cell>> cells(models->size(), std::vector<Cell>(load.batches.size()));
  for (int64_t round = 0; round < load.rounds; ++round) {
    // What is to be compared runs side by side.
    for (size_t b = 0; b < load.batches.size(); ++b) {
      for (size_t m = 0; m < models->size(); ++m) {
        const v1::Model& model = (*models)[m];
        progress(absl::StrCat("round ", round + 1, " of ", load.rounds, ", batch ", load.batches[b],
                              ", ", model.name()));
        Callers callers(client, model, *lengths, options, deadline);
        const absl::StatusOr<SpentOnBatch> spent = callers.Run(load.batches[b]);
        if (!spent.ok()) {
          return Annotated(spent.status(),
                           absl::StrCat(model.name(), " at batch ", load.batches[b]));
        }
        cells[m][b].prompt.push_back(spent->prompt.OfAMillion());
        cells[m][b].completion.push_back(spent->completion.OfAMillion());
      }
    }
  }

  CostReport report;
  report.load = load;
  report.load.prompt_tokens = lengths->prompt;
  report.load.completion_tokens = lengths->completion;
  report.has_usd = true;
  for (size_t m = 0; m < models->size(); ++m) {
    const v1::Model& model = (*models)[m];
    if (model.has_usd_per_device_hour()) report.usd_per_device_hour = model.usd_per_device_hour();
    const auto twin =
        std::find_if(models->begin(), models->end(),
                     [&model](const v1::Model& other) { return IsAdditiveTwin(other, model); });
    const std::vector<Cell>* additive =
        twin == models->end() ? nullptr : &cells[twin - models->begin()];
    ModelCost& cost = report.models.emplace_back();
    cost.model = model;
    if (additive != nullptr) cost.additive = twin->name();
    for (size_t b = 0; b < load.batches.size(); ++b) {
      BatchCost& batch = cost.batches.emplace_back();
      batch.batch = load.batches[b];
      batch.prompt = Summarize(cells[m][b].prompt, additive ? &(*additive)[b].prompt : nullptr);
      batch.completion =
          Summarize(cells[m][b].completion, additive ? &(*additive)[b].completion : nullptr);
      report.has_usd = report.has_usd && batch.prompt.usd && batch.completion.usd;
    }
  }
  return report;
}

}  // namespace deltaserve::cli
