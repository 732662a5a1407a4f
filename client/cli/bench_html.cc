#include "client/cli/bench_html.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/cli/plot_scale.h"

namespace deltaserve::cli {
namespace {

// Pixels of a plot, and of its inside.
constexpr double kWidth = 560, kHeight = 300;
constexpr double kLeft = 64, kRight = 16, kTop = 36, kBottom = 44;
constexpr double kInnerWidth = kWidth - kLeft - kRight;
constexpr double kInnerHeight = kHeight - kTop - kBottom;

constexpr char kStyle[] = R"(
  :root { color-scheme: light dark; --ink: #20262e; --faint: #6b7280; --grid: #e1e3e8;
          --back: #fff; --line: #0072b2; --mark: #d55e00; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6e8ec; --faint: #9aa1ad; --grid: #343a43; --back: #16191e; --line: #56b4e9;
            --mark: #e69f00; } }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
         max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin: 0; } p { margin: .2rem 0; color: var(--faint); }
  table { border-collapse: collapse; margin: 1.2rem 0; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid var(--grid); }
  th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
  .plots { display: flex; flex-wrap: wrap; gap: 12px; } pre { white-space: pre-wrap; }
  svg { font: 13px system-ui, sans-serif; } svg text { fill: var(--faint); }
  .title { fill: var(--ink); font-weight: 600; font-size: 15px; }
  .grid { stroke: var(--grid); } .axis { stroke: var(--faint); }
  .line { fill: none; stroke: var(--line); stroke-width: 2; }
  .area { fill: var(--line); opacity: .15; }
  .mark { stroke: var(--mark); stroke-dasharray: 4 3; } svg text.value { fill: var(--mark); }
)";

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// One plot: x from 0 to `most_x`, y from 0 to `most_y`.
class Plot {
 public:
  Plot(const std::string& title, const std::string& x_title, double most_x, double most_y)
      : most_x_(most_x > 0 ? most_x : 1), most_y_(most_y > 0 ? most_y : 1) {
    absl::StrAppendFormat(&svg_,
                          "<svg viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" role=\"img\">"
                          "<title>%s</title>\n",
                          kWidth, kHeight, kWidth, kHeight, Escaped(title));
    Text(kLeft, 20, "start", "title", title);
    Text(kLeft + kInnerWidth, kHeight - 6, "end", "", x_title);
  }

  // `unit` of y: 1, or 0.01 where it is shown in percent.
  void Grid(double unit, const char* y_suffix) {
    const double step_y = GridStep(most_y_ / unit) * unit;
    for (double y = 0; y <= most_y_ * (1 + 1e-9); y += step_y) {
      Line(0, y, most_x_, y, y == 0 ? "axis" : "grid");
      Text(kLeft - 8, Y(y) + 4, "end", "", absl::StrFormat("%g%s", y / unit, y_suffix));
    }
    const double step_x = GridStep(most_x_);
    for (double x = 0; x <= most_x_ * (1 + 1e-9); x += step_x) {
      Text(X(x), kTop + kInnerHeight + 18, "middle", "", absl::StrFormat("%g", x));
    }
  }

  void Add(double x, double y) { absl::StrAppendFormat(&points_, "%.1f,%.1f ", X(x), Y(y)); }
  void Curve() { absl::StrAppend(&svg_, "<polyline class=\"line\" points=\"", points_, "\"/>\n"); }
  void Area() {
    absl::StrAppendFormat(&svg_, "<polygon class=\"area\" points=\"%.1f,%.1f %s%.1f,%.1f\"/>\n",
                          X(0), Y(0), points_, X(most_x_), Y(0));
  }

  // A line at `x`, whose label stands at the height of `y`.
  void Mark(double x, double y, const std::string& label) {
    Line(x, 0, x, y, "mark");
    const bool fits = X(x) + 8.0 * static_cast<double>(label.size()) < kWidth;
    Text(X(x) + (fits ? 6 : -6), Y(y) + 16, fits ? "start" : "end", "value", label);
  }

  std::string Take() { return absl::StrCat(svg_, "</svg>\n"); }

 private:
  double X(double x) const { return kLeft + kInnerWidth * x / most_x_; }
  double Y(double y) const { return kTop + kInnerHeight * (1 - y / most_y_); }

  void Line(double x1, double y1, double x2, double y2, const char* kind) {
    absl::StrAppendFormat(&svg_,
                          "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                          kind, X(x1), Y(y1), X(x2), Y(y2));
  }
  void Text(double x, double y, const char* anchor, const char* kind, const std::string& text) {
    absl::StrAppendFormat(&svg_,
                          "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
                          kind, x, y, anchor, Escaped(text));
  }

  const double most_x_, most_y_;
  std::string svg_, points_;
};

// Which share of all took at most so long.
std::string SharePlot(const char* title, const Distribution& values) {
  if (values.empty()) return "";
  constexpr int kPoints = 200;
  // The slowest would squeeze all the others: the plot ends a little behind p99.
  const double most = std::min(values.sorted().back(), 1.25 * values.Quantile(0.99));
  Plot plot(title, "ms", 1e3 * most, 1);
  plot.Grid(/*unit=*/0.01, "%");
  plot.Add(0, 0);
  plot.Add(1e3 * values.sorted().front(), 0);
  for (int i = 1; i <= kPoints; ++i) {
    const double share = static_cast<double>(i) / kPoints;
    const double value = values.Quantile(share);
    if (value <= most) plot.Add(1e3 * value, share);
  }
  plot.Curve();
  for (const double p : {0.5, 0.9, 0.99}) {
    const double ms = 1e3 * values.Quantile(p);
    plot.Mark(ms, p == 0.99 ? 0.78 : p, absl::StrFormat("p%g %.3g", 100 * p, ms));
  }
  return plot.Take();
}

std::string RatePlot(const BenchReport& report) {
  const double most = *std::max_element(report.rates.begin(), report.rates.end());
  Plot plot("Generated tokens per second", "seconds", report.seconds, most);
  plot.Grid(/*unit=*/1, "");
  const double part = report.seconds / static_cast<double>(report.rates.size());
  for (size_t i = 0; i < report.rates.size(); ++i) {
    plot.Add(static_cast<double>(i) * part, report.rates[i]);
    plot.Add(static_cast<double>(i + 1) * part, report.rates[i]);
  }
  plot.Area();
  plot.Curve();
  return plot.Take();
}

std::string LatencyRow(const char* name, const Distribution& values) {
  if (values.empty()) return "";
  std::string row = absl::StrCat("<tr><td>", name, "</td>");
  for (const double value : {values.Quantile(0.5), values.Quantile(0.9), values.Quantile(0.99),
                             values.sorted().back(), values.Mean()}) {
    absl::StrAppendFormat(&row, "<td>%.2f</td>", 1e3 * value);
  }
  return absl::StrCat(row, "</tr>\n");
}

std::string CostRow(const char* unit, const std::optional<BenchCost>& cost) {
  if (!cost) return "";
  return absl::StrFormat(
      "<tr><td>%s per million tokens</td><td>%.4g</td><td>%.4g</td><td>%.4g</td></tr>\n", unit,
      cost->per_million, cost->per_million_prompt, cost->per_million_completion);
}

}  // namespace

std::string BenchPage(const BenchReport& report) {
  std::string page = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\">"
      "<title>deltactl bench</title><style>",
      kStyle, "</style></head><body>\n<h1>", Escaped(LoopLine(report.load)), "</h1>\n");
  absl::StrAppendFormat(&page, "<p>%s%s; measured for %.1f s%s</p>\n",
                        report.load.model.empty() ? "" : Escaped(report.load.model) + ": ",
                        TokensLine(report.load), report.seconds,
                        report.interrupted ? ", interrupted" : "");
  absl::StrAppendFormat(&page,
                        "<p>%d calls, %d OK; %.2f calls/s, %.1f generated tokens/s, %.1f prompt "
                        "tokens/s</p>\n",
                        report.calls, report.ok, report.calls_per_second, report.tokens_per_second,
                        report.prompt_tokens_per_second);
  for (const auto& [status, errors] : report.errors) {
    absl::StrAppendFormat(&page, "<pre>%d %s: %s</pre>\n", errors.count, status,
                          Escaped(errors.message));
  }
  absl::StrAppend(&page,
                  "<table><tr><th>ms</th><th>p50</th><th>p90</th><th>p99</th><th>max</th>"
                  "<th>mean</th></tr>\n",
                  LatencyRow("first token", report.first_token),
                  LatencyRow("inter-token", report.inter_token), LatencyRow("total", report.total),
                  LatencyRow("of it queued", report.queued),
                  report.load.rate ? LatencyRow("begun late", report.late) : "", "</table>\n");
  if (report.device_seconds) {
    absl::StrAppend(
        &page, "<table><tr><th></th><th>all</th><th>prompt</th><th>completion</th></tr>\n",
        CostRow("USD", report.usd), CostRow("Device seconds", report.device_seconds), "</table>\n");
  }
  absl::StrAppend(&page, "<div class=\"plots\">\n",
                  SharePlot("Time to first token: share of calls", report.first_token),
                  SharePlot("Between tokens: share of gaps", report.inter_token),
                  SharePlot("Whole call: share of calls", report.total), RatePlot(report),
                  "</div>\n</body></html>\n");
  return page;
}

absl::Status WriteBenchPage(const BenchReport& report, const std::string& path) {
  std::ofstream file(path, std::ios::trunc);
  file << BenchPage(report);
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path, " cannot be written"));
}

}  // namespace deltaserve::cli
