// Measures engine and server; bench/README.md says what and how. Started by bench/run.sh.
//
// Exit status: 0, 1 (a measurement failed), 2 (usage).
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "bench/cost_bench.h"
#include "bench/engine_bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/server_bench.h"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

constexpr int64_t kMaxBatch = 256;

struct CommandLine {
  Options options;
  std::string json, markdown;  // files; "-": standard output; empty: none
  bool profile = false;
  bool cost = false;
};

absl::Status WriteText(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path, ": cannot be written"));
}

absl::Status Run(const CommandLine& line) {
  if (line.profile) return RunProfile(line.options);
  if (line.cost) {
    RETURN_IF_ERROR(RunPredictionBench(line.options));
    return RunTelemetryBench(line.options);
  }
  Results results;
  if (line.options.engine) RETURN_IF_ERROR(RunEngineBench(line.options, results));
  if (line.options.server) RETURN_IF_ERROR(RunServerBench(line.options, results));
  const nlohmann::ordered_json report = ToJson(line.options, results);
  const std::string markdown = ToMarkdown(report);
  // JSON on standard output is to be alone there.
  std::fputs(markdown.c_str(), line.json == "-" ? stderr : stdout);
  if (!line.json.empty()) RETURN_IF_ERROR(WriteText(line.json, report.dump(2) + "\n"));
  if (!line.markdown.empty()) RETURN_IF_ERROR(WriteText(line.markdown, markdown));
  return absl::OkStatus();
}

std::vector<ResidualKind> ParseResiduals(const std::vector<std::string>& names) {
  std::vector<ResidualKind> kinds;
  for (const std::string& name : names) {
    if (name == "all") return {std::begin(kResidualKinds), std::end(kResidualKinds)};
    const absl::StatusOr<ResidualKind> kind = ParseResidualKind(name);
    if (!kind.ok()) throw CLI::ValidationError("--residual", std::string(kind.status().message()));
    if (std::find(kinds.begin(), kinds.end(), *kind) == kinds.end()) kinds.push_back(*kind);
  }
  return kinds;
}

int Main(int argc, char** argv) {
  CommandLine line;
  Options& options = line.options;
  std::vector<std::string> residuals = {"all"};
  std::string part = "both";
  CLI::App app("Measures engine and server on random checkpoints; see bench/README.md.");
  app.add_option("--shape", options.shape, "small (124M), medium (353M), or tiny (a trial run)")
      ->check(CLI::IsMember({"small", "medium", "tiny"}))
      ->capture_default_str();
  app.add_option("--residual", residuals, "kinds, separated by commas, or all")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "bf16 (default) or fp32")
      ->transform(CLI::Transformer(
          std::map<std::string, DType>{{"bf16", DType::kBF16}, {"fp32", DType::kF32}}));
  app.add_option("--batch", options.batches, "sequences that decode at once, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, kMaxBatch))
      ->capture_default_str();
  app.add_option("--context", options.context, "tokens of a decoding sequence")
      ->check(CLI::Range(2, 960))
      ->capture_default_str();
  app.add_option("--repeats", options.repeats, "interleaved rounds; more are steadier")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "compute threads; 0: one a processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--device", options.device,
                 "as of deltaserve; other than the cpu with --part server alone")
      ->capture_default_str();
  app.add_option("--part", part, "engine, server or both")
      ->check(CLI::IsMember({"engine", "server", "both"}))
      ->capture_default_str();
  app.add_option("--json", line.json, "writes the numbers as JSON; without FILE to standard output")
      ->expected(0, 1)
      ->default_str("-")
      ->type_name("[FILE]");
  app.add_option("--markdown", line.markdown, "writes the tables that are printed")
      ->type_name("FILE");
  app.add_flag("--profile", line.profile, "prints the time of each op instead, at its least");
  app.add_flag(
      "--cost", line.cost,
      "prints how well the time of a step is predicted, and what telemetry costs, instead");
  app.add_option("--models-dir", options.models_dir, "where random checkpoints are kept")
      ->required();
  app.add_option("--commit", options.commit, "what the results are marked with");
  try {
    app.parse(argc, argv);
    options.residuals = ParseResiduals(residuals);
    if (options.device != "cpu" && part != "server") {
      throw CLI::ValidationError("--device", "of a GPU's steps gpu_step_bench tells (tests/gpu)");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.engine = part != "server";
  options.server = part != "engine";

  const absl::Status status = Run(line);
  if (status.ok()) return 0;
  std::fprintf(stderr, "deltaserve_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace deltaserve::bench

int main(int argc, char** argv) { return deltaserve::bench::Main(argc, argv); }
