#include "client/cli/bench_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deltaserve::cli {
namespace {

constexpr size_t kRates = 60;

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

// Sums over the usage of all answers.
class CostSum {
 public:
  void Add(const v1::Usage& usage) {
    prompt_ += usage.prompt_tokens();
    computed_ += usage.prompt_tokens() - usage.cached_prompt_tokens();
    completion_ += usage.completion_tokens();
    device_.Add(usage.device_seconds(), usage.prefill().device_seconds(),
                usage.decode().device_seconds());
    has_usd_ = has_usd_ && usage.has_cost_usd();
    usd_.Add(usage.cost_usd(), usage.prefill().cost_usd(), usage.decode().cost_usd());
  }

  void Fill(BenchReport& report) const {
    report.prompt_tokens = prompt_;
    report.completion_tokens = completion_;
    if (prompt_ + completion_ == 0) return;
    report.device_seconds = CostOf(device_);
    if (has_usd_) report.usd = CostOf(usd_);
  }

 private:
  struct Sums {
    double total = 0, prefill = 0, decode = 0;
    void Add(double whole, double of_prefill, double of_decode) {
      total += whole;
      prefill += of_prefill;
      decode += of_decode;
    }
  };

  BenchCost CostOf(const Sums& sums) const {
    return {.total = sums.total,
            .per_million = 1e6 * Ratio(sums.total, static_cast<double>(prompt_ + completion_)),
            .per_million_prompt = 1e6 * Ratio(sums.prefill, static_cast<double>(computed_)),
            .per_million_completion = 1e6 * Ratio(sums.decode, static_cast<double>(completion_))};
  }

  int64_t prompt_ = 0, computed_ = 0, completion_ = 0;
  Sums device_, usd_;
  bool has_usd_ = true;
};

std::vector<double> Rates(const BenchRun& run) {
  std::vector<double> rates(kRates, 0);
  if (run.seconds <= 0) return rates;
  const double part = run.seconds / kRates;
  for (const BenchCall& call : run.calls) {
    for (const TokenArrival& arrival : call.arrivals) {
      if (arrival.at < 0 || arrival.at >= run.seconds) continue;
      const auto index = std::min(static_cast<size_t>(arrival.at / part), kRates - 1);
      rates[index] += static_cast<double>(arrival.tokens) / part;
    }
  }
  return rates;
}

std::string Text(const TokenRange& range) {
  return range.least == range.most ? absl::StrCat(range.least)
                                   : absl::StrCat(range.least, " to ", range.most);
}

Json ToJson(const TokenRange& range) { return {{"least", range.least}, {"most", range.most}}; }

Json ToJson(const Distribution& values) {
  if (values.empty()) return nullptr;
  return {{"mean", values.Mean()},         {"p50", values.Quantile(0.5)},
          {"p90", values.Quantile(0.9)},   {"p99", values.Quantile(0.99)},
          {"max", values.sorted().back()}, {"count", values.sorted().size()}};
}

Json ToJson(const std::optional<BenchCost>& cost) {
  if (!cost) return nullptr;
  return {{"total", cost->total},
          {"per_million", cost->per_million},
          {"per_million_prompt", cost->per_million_prompt},
          {"per_million_completion", cost->per_million_completion}};
}

void PrintLatency(const char* name, const Distribution& values, std::ostream& out) {
  if (values.empty()) return;
  out << absl::StrFormat("%-14s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name,
                         1e3 * values.Quantile(0.5), 1e3 * values.Quantile(0.9),
                         1e3 * values.Quantile(0.99), 1e3 * values.sorted().back(),
                         1e3 * values.Mean());
}

void PrintCost(const char* unit, const BenchCost& cost, std::ostream& out) {
  out << absl::StrFormat(
      "%s per million tokens: %.4g (prompt %.4g, completion %.4g); %.4g in all\n", unit,
      cost.per_million, cost.per_million_prompt, cost.per_million_completion, cost.total);
}

}  // namespace

Distribution::Distribution(std::vector<double> values) : sorted_(std::move(values)) {
  std::sort(sorted_.begin(), sorted_.end());
}

double Distribution::Quantile(double p) const {
  if (sorted_.empty()) return 0;
  const double rank = std::ceil(p * static_cast<double>(sorted_.size()));
  return sorted_[rank < 1 ? 0 : static_cast<size_t>(rank) - 1];
}

double Distribution::Mean() const {
  return Ratio(std::accumulate(sorted_.begin(), sorted_.end(), 0.0),
               static_cast<double>(sorted_.size()));
}

BenchReport Summarize(const BenchLoad& load, const BenchRun& run) {
  BenchReport report;
  report.load = load;
  report.seconds = run.seconds;
  report.interrupted = run.interrupted;
  std::vector<double> first_token, inter_token, total, queued, late;
  CostSum cost;
  int64_t tokens_in_time = 0, ok_in_time = 0, prompts_in_time = 0;
  for (const BenchCall& call : run.calls) {
    for (const TokenArrival& arrival : call.arrivals) {
      if (arrival.at >= 0 && arrival.at < run.seconds) tokens_in_time += arrival.tokens;
    }
    if (call.status.ok() && call.ended >= 0 && call.ended <= run.seconds) {
      ++ok_in_time;
      if (call.usage) prompts_in_time += call.usage->prompt_tokens();
    }
    if (!call.counted) continue;
    ++report.calls;
    late.push_back(call.begun - call.due);
    if (call.usage) cost.Add(*call.usage);
    if (!call.status.ok()) {
      BenchReport::Errors& errors = report.errors[absl::StatusCodeToString(call.status.code())];
      if (errors.count++ == 0) errors.message = std::string(call.status.message());
      continue;
    }
    ++report.ok;
    total.push_back(call.ended - call.due);
    if (call.usage) queued.push_back(call.usage->queue_seconds());
    if (call.arrivals.empty()) continue;
    first_token.push_back(call.arrivals.front().at - call.due);
    for (size_t i = 1; i < call.arrivals.size(); ++i) {
      inter_token.push_back(call.arrivals[i].at - call.arrivals[i - 1].at);
    }
  }
  cost.Fill(report);
  report.first_token = Distribution(std::move(first_token));
  report.inter_token = Distribution(std::move(inter_token));
  report.total = Distribution(std::move(total));
  report.queued = Distribution(std::move(queued));
  report.late = Distribution(std::move(late));
  report.calls_per_second = Ratio(static_cast<double>(ok_in_time), run.seconds);
  report.tokens_per_second = Ratio(static_cast<double>(tokens_in_time), run.seconds);
  report.prompt_tokens_per_second = Ratio(static_cast<double>(prompts_in_time), run.seconds);
  report.rates = Rates(run);
  return report;
}

std::string LoopLine(const BenchLoad& load) {
  return load.rate ? absl::StrFormat("open loop, %g calls/s (Poisson)", *load.rate)
                   : absl::StrFormat("closed loop, %d callers", load.concurrency);
}

std::string TokensLine(const BenchLoad& load) {
  const std::string generated = absl::StrCat(Text(load.max_tokens), " generated");
  if (!load.prompts.empty()) {
    return absl::StrCat(load.prompts.size(), " prompts in turn, at most ", generated);
  }
  return absl::StrCat("prompts of ", Text(load.prompt_tokens), " random tokens, ", generated);
}

std::string ProgressLine(const BenchProgress& progress) {
  const std::string when =
      progress.seconds < 0 ? "warming up" : absl::StrFormat("%.0f s", progress.seconds);
  return absl::StrFormat("%s: %d calls, %d failed, %d under way, %.1f tokens/s", when,
                         progress.ended, progress.failed, progress.in_flight,
                         progress.tokens_per_second);
}

void PrintBench(const BenchReport& report, std::ostream& out) {
  out << absl::StrFormat("%s; %s; %.1f s%s\n%d calls, %d OK\n", LoopLine(report.load),
                         TokensLine(report.load), report.seconds,
                         report.interrupted ? ", interrupted" : "", report.calls, report.ok);
  for (const auto& [status, errors] : report.errors) {
    out << absl::StrFormat("  %d %s: %s\n", errors.count, status, errors.message);
  }
  out << absl::StrFormat("\n%-14s %10s %10s %10s %10s %10s\n", "ms", "p50", "p90", "p99", "max",
                         "mean");
  PrintLatency("first token", report.first_token, out);
  PrintLatency("inter-token", report.inter_token, out);
  PrintLatency("total", report.total, out);
  PrintLatency("of it queued", report.queued, out);
  if (report.load.rate) PrintLatency("begun late", report.late, out);
  out << absl::StrFormat("\n%.2f calls/s, %.1f generated tokens/s, %.1f prompt tokens/s\n",
                         report.calls_per_second, report.tokens_per_second,
                         report.prompt_tokens_per_second);
  if (report.usd) PrintCost("USD", *report.usd, out);
  if (report.device_seconds) PrintCost("Device seconds", *report.device_seconds, out);
}

Json ToJson(const BenchReport& report) {
  const BenchLoad& load = report.load;
  Json errors = Json::object();
  for (const auto& [status, of] : report.errors) {
    errors[status] = {{"count", of.count}, {"message", of.message}};
  }
  return {
      {"loop", load.rate ? "open" : "closed"},
      {"rate", load.rate ? Json(*load.rate) : Json()},
      {"concurrency", load.rate ? Json() : Json(load.concurrency)},
      {"warmup_seconds", load.warmup},
      {"seed", load.seed},
      {"model", load.model},
      {"prompt_tokens", load.prompts.empty() ? ToJson(load.prompt_tokens) : Json()},
      {"max_tokens", ToJson(load.max_tokens)},
      {"interrupted", report.interrupted},
      {"seconds", report.seconds},
      {"calls", report.calls},
      {"ok", report.ok},
      {"errors", errors},
      {"time_to_first_token", ToJson(report.first_token)},
      {"inter_token", ToJson(report.inter_token)},
      {"total", ToJson(report.total)},
      {"queued", ToJson(report.queued)},
      {"late", ToJson(report.late)},
      {"calls_per_second", report.calls_per_second},
      {"tokens_per_second", report.tokens_per_second},
      {"prompt_tokens_per_second", report.prompt_tokens_per_second},
      {"usage",
       {{"prompt_tokens", report.prompt_tokens}, {"completion_tokens", report.completion_tokens}}},
      {"device_seconds", ToJson(report.device_seconds)},
      {"usd", ToJson(report.usd)}};
}

}  // namespace deltaserve::cli
