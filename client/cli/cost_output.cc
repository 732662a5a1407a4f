#include "client/cli/cost_output.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deltaserve::cli {
namespace {

using Line = std::vector<std::string>;

// The first two columns to the left, the others to the right.
void PrintAligned(const std::vector<Line>& lines, std::ostream& out) {
  std::vector<size_t> widths(lines.front().size());
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const Line& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      const int width = static_cast<int>(widths[i]);
      absl::StrAppendFormat(&text, "%s%*s", i == 0 ? "" : "  ", i < 2 ? -width : width, line[i]);
    }
    out << absl::StripTrailingAsciiWhitespace(text) << '\n';
  }
}

// Adds a cell for each batch of the prompt and then of the completion.
template <typename Cell>
void AddCells(const ModelCost& model, Line& line, Cell cell) {
  for (const BatchCost& batch : model.batches) line.push_back(cell(batch.prompt));
  for (const BatchCost& batch : model.batches) line.push_back(cell(batch.completion));
}

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json ToJson(const TokenCost& cost) {
  return {{"device_seconds_per_million", cost.device_seconds},
          {"usd_per_million", OrNull(cost.usd)},
          {"of_additive", OrNull(cost.of_additive)}};
}

}  // namespace

std::string Heading(const CostReport& report) {
  if (!report.has_usd) {
    return "Device seconds per million tokens (the server has no price: --usd-per-device-hour)";
  }
  std::string heading = "USD per million tokens";
  if (report.usd_per_device_hour) {
    absl::StrAppendFormat(&heading, ", at %g USD per device hour", *report.usd_per_device_hour);
  }
  return heading;
}

std::string LoadLine(const CostReport& report) {
  std::string line = absl::StrFormat("each request: %d prompt tokens, %d completion tokens",
                                     report.load.prompt_tokens.value_or(0),
                                     report.load.completion_tokens.value_or(0));
  if (report.load.rounds == 1) return line;
  absl::StrAppend(&line, "; medians of ", report.load.rounds, " rounds");
  const bool has_ratios =
      std::any_of(report.models.begin(), report.models.end(),
                  [](const ModelCost& model) { return !model.additive.empty(); });
  if (has_ratios) absl::StrAppend(&line, ", ratios within each");
  return line;
}

double Shown(const CostReport& report, const TokenCost& cost) {
  return report.has_usd ? cost.usd.value_or(0) : cost.device_seconds;
}

std::string Number(double value, int digits) {
  // Large ones are whole, rather than with an exponent.
  if (value < std::pow(10, digits)) return absl::StrFormat("%.*g", digits, value);
  return absl::StrFormat("%.0f", value);
}

void PrintCosts(const CostReport& report, std::ostream& out) {
  out << Heading(report) << '\n' << LoadLine(report) << "\n\n";
  Line kinds = {"", ""};
  Line batches = {"MODEL", "RESIDUAL"};
  for (const char* kind : {"PROMPT", "COMPLETION"}) {
    for (const int64_t batch : report.load.batches) {
      kinds.push_back(batch == report.load.batches.front() ? kind : "");
      batches.push_back(absl::StrCat("batch ", batch));
    }
  }
  std::vector<Line> lines = {kinds, batches};
  for (const ModelCost& model : report.models) {
    Line& line = lines.emplace_back(Line{model.model.name(), model.model.residual()});
    AddCells(model, line,
             [&report](const TokenCost& cost) { return Number(Shown(report, cost), 4); });
    if (model.additive.empty()) continue;
    Line& ratios = lines.emplace_back(Line{"", absl::StrCat("/ ", model.additive)});
    AddCells(model, ratios, [](const TokenCost& cost) {
      return cost.of_additive ? absl::StrFormat("%.3f", *cost.of_additive) : "-";
    });
  }
  PrintAligned(lines, out);
}

Json ToJson(const CostReport& report) {
  Json json = {{"unit", report.has_usd ? "usd" : "device_seconds"},
               {"usd_per_device_hour", OrNull(report.usd_per_device_hour)},
               {"prompt_tokens", report.load.prompt_tokens.value_or(0)},
               {"completion_tokens", report.load.completion_tokens.value_or(0)},
               {"rounds", report.load.rounds}};
  Json& models = json["models"] = Json::array();
  for (const ModelCost& cost : report.models) {
    Json batches = Json::array();
    for (const BatchCost& batch : cost.batches) {
      batches.push_back({{"batch", batch.batch},
                         {"prompt", ToJson(batch.prompt)},
                         {"completion", ToJson(batch.completion)}});
    }
    models.push_back({{"name", cost.model.name()},
                      {"residual", cost.model.residual()},
                      {"value_channels", cost.model.value_channels()},
                      {"dtype", cost.model.dtype()},
                      {"device", cost.model.device()},
                      {"additive", cost.additive.empty() ? Json() : Json(cost.additive)},
                      {"batches", std::move(batches)}});
  }
  return json;
}

}  // namespace deltaserve::cli
