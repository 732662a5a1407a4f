#include "bench/table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace deltaserve::bench {
namespace {

// Characters of UTF-8 text.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

}  // namespace

std::string Table::ToString() const {
  std::vector<size_t> widths(rows_[0].size(), 3);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string padding(widths[i] - Width(rows_[r][i]), ' ');
      absl::StrAppend(&text, "| ", i == 0 ? rows_[r][i] + padding : padding + rows_[r][i], " ");
    }
    text += "|\n";
    if (r > 0) continue;
    for (size_t i = 0; i < widths.size(); ++i) {
      absl::StrAppend(&text, "|", i == 0 ? ":" : "-", std::string(widths[i], '-'),
                      i == 0 ? "-" : ":");
    }
    text += "|\n";
  }
  return text;
}

}  // namespace deltaserve::bench
