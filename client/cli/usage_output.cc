#include "client/cli/usage_output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deltaserve::cli {
namespace {

using Fields = std::vector<std::pair<std::string, Json>>;

void AddUsage(const v1::Usage& usage, Fields& fields) {
  fields.emplace_back("prompt_tokens", usage.prompt_tokens());
  fields.emplace_back("cached_prompt_tokens", usage.cached_prompt_tokens());
  fields.emplace_back("completion_tokens", usage.completion_tokens());
  fields.emplace_back("scored_tokens", usage.scored_tokens());
  fields.emplace_back("device_seconds", usage.device_seconds());
  fields.emplace_back("prefill_seconds", usage.prefill().device_seconds());
  fields.emplace_back("decode_seconds", usage.decode().device_seconds());
  fields.emplace_back("score_seconds", usage.score().device_seconds());
  fields.emplace_back("energy_joules",
                      usage.has_energy_joules() ? Json(usage.energy_joules()) : Json());
  fields.emplace_back("cost_usd", usage.has_cost_usd() ? Json(usage.cost_usd()) : Json());
}

Fields FieldsOf(const v1::UsageTotal& total) {
  Fields fields;
  fields.emplace_back("day", total.has_day() ? Json(total.day()) : Json());
  fields.emplace_back("tenant", total.has_tenant() ? Json(total.tenant()) : Json());
  fields.emplace_back("model", total.has_model() ? Json(total.model()) : Json());
  fields.emplace_back("requests", total.requests());
  fields.emplace_back("interrupted", total.interrupted());
  AddUsage(total.usage(), fields);
  fields.emplace_back("billed_usd", total.billed_usd());
  fields.emplace_back("absorbed_usd", total.absorbed_usd());
  return fields;
}

Fields FieldsOf(const v1::RequestUsage& request) {
  Fields fields;
  fields.emplace_back("request_id", request.request_id());
  fields.emplace_back("tenant", request.tenant());
  fields.emplace_back("model", request.model());
  fields.emplace_back("opened", request.opened());
  fields.emplace_back("closed", request.has_closed() ? Json(request.closed()) : Json());
  fields.emplace_back("state", request.state());
  fields.emplace_back("status", request.status());
  AddUsage(request.usage(), fields);
  fields.emplace_back("reserved_usd",
                      request.has_reserved_usd() ? Json(request.reserved_usd()) : Json());
  fields.emplace_back("billed_usd", request.billed_usd());
  fields.emplace_back("absorbed_usd", request.absorbed_usd());
  return fields;
}

std::string Cell(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return absl::StrCat(value.get<int64_t>());
  return absl::StrFormat("%.6g", value.get<double>());
}

std::string CsvCell(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_string()) return value.dump();
  std::string text = value.get<std::string>();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + "\"";
}

template <typename Row>
void PrintCsvLine(const Row& cells, std::ostream& out) {
  const char* separator = "";
  for (const auto& cell : cells) {
    out << separator << CsvCell(cell);
    separator = ",";
  }
  out << "\r\n";
}

}  // namespace

UsageTable TableOf(const v1::GetUsageResponse& response) {
  std::vector<Fields> rows;
  if (response.has_request()) rows.push_back(FieldsOf(response.request()));
  for (const v1::UsageTotal& total : response.totals()) rows.push_back(FieldsOf(total));
  UsageTable table;
  table.rows.resize(rows.size());
  if (rows.empty()) return table;
  for (size_t column = 0; column < rows[0].size(); ++column) {
    const bool tells = response.has_request() ||
                       std::any_of(rows.begin(), rows.end(), [column](const Fields& row) {
                         return !row[column].second.is_null();
                       });
    if (!tells) continue;
    table.names.push_back(rows[0][column].first);
    for (size_t i = 0; i < rows.size(); ++i) table.rows[i].push_back(rows[i][column].second);
  }
  return table;
}

void PrintText(const UsageTable& table, std::ostream& out) {
  if (table.rows.empty()) {
    out << "nothing\n";
    return;
  }
  std::vector<std::vector<std::string>> lines;
  if (table.rows.size() == 1) {
    for (size_t i = 0; i < table.names.size(); ++i) {
      lines.push_back({table.names[i], Cell(table.rows[0][i])});
    }
  } else {
    lines.resize(1 + table.rows.size());
    for (size_t i = 0; i < table.names.size(); ++i) {
      const auto is_zero = [i](const std::vector<Json>& row) { return row[i] == 0; };
      if (std::all_of(table.rows.begin(), table.rows.end(), is_zero)) continue;
      lines[0].push_back(absl::AsciiStrToUpper(table.names[i]));
      for (size_t row = 0; row < table.rows.size(); ++row) {
        lines[1 + row].push_back(Cell(table.rows[row][i]));
      }
    }
  }
  std::vector<size_t> widths(lines[0].size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const auto& line : lines) {
    for (size_t i = 0; i + 1 < line.size(); ++i) {
      out << absl::StrFormat("%-*s  ", static_cast<int>(widths[i]), line[i]);
    }
    out << line.back() << '\n';
  }
}

void PrintCsv(const UsageTable& table, std::ostream& out) {
  PrintCsvLine(std::vector<Json>(table.names.begin(), table.names.end()), out);
  for (const std::vector<Json>& row : table.rows) PrintCsvLine(row, out);
}

Json ToJson(const UsageTable& table) {
  Json list = Json::array();
  for (const std::vector<Json>& row : table.rows) {
    Json object = Json::object();
    for (size_t i = 0; i < row.size(); ++i) object[table.names[i]] = row[i];
    list.push_back(std::move(object));
  }
  return {{"usage", std::move(list)}};
}

}  // namespace deltaserve::cli
