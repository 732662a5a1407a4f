#include "client/cli/bench_command_line.h"

#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/cli/command_options.h"

namespace deltaserve::cli {
namespace {

constexpr int64_t kMostCallers = 65'536;
constexpr int64_t kMostTokens = 1 << 20;
constexpr double kMostSeconds = 86'400;

double ParseAmount(const std::string& text, double most, bool may_be_zero) {
  const double amount = ParseNumber<float>(text);
  if (!(amount >= 0 && amount <= most) || (amount == 0 && !may_be_zero)) {
    throw BadValue{
        absl::StrCat(text, " is not ", may_be_zero ? "from 0" : "above 0", " to ", most)};
  }
  return amount;
}

// "64", or "16-64".
TokenRange ParseRange(const std::string& text) {
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  if (ends.size() > 2) throw BadValue{text + " is not of the form N or N-N"};
  const TokenRange range = {ParseCount(ends.front(), 1, kMostTokens),
                            ParseCount(ends.back(), 1, kMostTokens)};
  if (range.least > range.most) throw BadValue{text + " ends before it begins"};
  return range;
}

}  // namespace

CLI::App& AddBench(CLI::App& app, CommandLine::Bench& bench) {
  CLI::App& command = *app.add_subcommand(
      "bench", "How the server bears a load: latencies, throughput, errors, costs");
  BenchLoad& load = bench.load;
  using Value = const std::string&;
  AddOption(command, "--model", "NAME", "May be left out where the server has one model only",
            [&load](Value value) { load.model = value; });
  CLI::Option* concurrency =
      AddOption(command, "--concurrency", "N",
                "Closed loop: so many callers, each calls again once answered (default 8)",
                [&load](Value value) { load.concurrency = ParseCount(value, 1, kMostCallers); });
  AddOption(command, "--rate", "CALLS/S",
            "Open loop: calls begin at random (Poisson) whether answered or not; latency counts "
            "from when a call was due",
            [&load](Value value) { load.rate = ParseAmount(value, 1e5, false); })
      ->excludes(concurrency);
  AddOption(command, "--max-in-flight", "N",
            "Open loop: no more at once; others wait (default 4096)",
            [&load](Value value) { load.max_in_flight = ParseCount(value, 1, kMostCallers); });
  AddOption(command, "--warmup", "SECONDS", "Not counted (default 1)",
            [&load](Value value) { load.warmup = ParseAmount(value, kMostSeconds, true); });
  CLI::Option* duration =
      AddOption(command, "--duration", "SECONDS", "After the warm-up (default 10)",
                [&load](Value value) { load.duration = ParseAmount(value, kMostSeconds, false); });
  AddOption(command, "--requests", "N", "So many after the warm-up, instead of a duration",
            [&load](Value value) { load.requests = ParseCount(value, 1, BenchLoad::kMostCalls); })
      ->excludes(duration);
  CLI::Option* tokens =
      AddOption(command, "--prompt-tokens", "N|N-N", "Random ids, so many (default 128)",
                [&load](Value value) { load.prompt_tokens = ParseRange(value); });
  AddOption(command, "--file", "PATH", "Prompts instead, one a line, in turn",
            [&bench](Value value) { bench.prompts_path = value; })
      ->excludes(tokens);
  AddOption(command, "--max-tokens", "N|N-N", "Generated (default 64)",
            [&load](Value value) { load.max_tokens = ParseRange(value); });
  AddOption(command, "--temperature", "NUMBER", "0 to 2; 0 is greedy (default 1)",
            [&load](Value value) { load.temperature = ParseNumber<float>(value); });
  AddOption(command, "--seed", "INTEGER", "Of all that is random (default 1)",
            [&load](Value value) { load.seed = ParseNumber<uint64_t>(value); });
  AddOption(command, "--html", "PATH", "Write a page with plots, too",
            [&bench](Value value) { bench.html_path = value; });
  command.footer(
      "--timeout is that of each call, and 600 at most. Interrupted, it reports what it has.");
  return command;
}

}  // namespace deltaserve::cli
