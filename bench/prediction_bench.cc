#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/cost_bench.h"
#include "bench/engine_bench.h"
#include "bench/stats.h"
#include "bench/table.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/api/clock.h"
#include "server/model/assign_or_return.h"
#include "server/model/calibration.h"

namespace deltaserve::bench {
namespace {

struct PredictedCell {
  std::string kind, phase;
  int64_t batch = 0, length = 0;
  std::vector<SequenceWork> work;
  StepFunction step;
  std::vector<double> measured, predicted;  // seconds, by round

  // Of the least times: other work on the host only ever adds to them.
  double Error() const { return Least(predicted) / Least(measured) - 1; }
  static double Least(const std::vector<double>& seconds) {
    return *std::min_element(seconds.begin(), seconds.end());
  }
};

SequenceWork WorkOf(int64_t index, Phase phase, int64_t tokens, int64_t kv_len) {
  SequenceWork work;
  work.request = work.sequence = index;
  work.phase = phase;
  work.tokens = tokens;
  work.kv_len = kv_len;
  work.logit_rows = 1;
  return work;
}

std::vector<PredictedCell> CellsOf(const Options& options, BenchModel& model) {
  std::vector<PredictedCell> cells;
  for (const int64_t context : std::set<int64_t>{(options.context + 3) / 4, options.context}) {
    for (const int64_t batch : options.batches) {
      PredictedCell& cell = cells.emplace_back();
      cell.phase = "decode";
      cell.batch = batch;
      cell.length = context;
      for (int64_t i = 0; i < batch; ++i) {
        cell.work.push_back(WorkOf(i, Phase::kDecode, 1, context));
      }
      cell.step = [&model, batch, context] { return model.Decode(batch, context); };
    }
  }
  for (const int64_t tokens : {kPrefillTokens / 16, kPrefillTokens / 4, kPrefillTokens}) {
    PredictedCell& cell = cells.emplace_back();
    cell.phase = "prefill";
    cell.batch = 1;
    cell.length = tokens;
    cell.work = {WorkOf(0, Phase::kPrefill, tokens, tokens)};
    cell.step = [&model, tokens] { return model.Prefill(tokens); };
  }
  for (PredictedCell& cell : cells) cell.kind = Name(model.kind());
  return cells;
}

double SecondsOf(const CostModel& cost, const std::vector<SequenceWork>& work) {
  const std::vector<int64_t> picoseconds = cost.Picoseconds(work);
  return 1e-12 *
         static_cast<double>(std::accumulate(picoseconds.begin(), picoseconds.end(), int64_t{0}));
}

// Of the errors' sizes, over all cells of a phase, and over their rounds.
std::string Summary(const std::vector<PredictedCell>& cells, const std::string& phase) {
  std::vector<double> least, rounds, ratios;
  for (const PredictedCell& cell : cells) {
    if (cell.phase != phase) continue;
    least.push_back(std::abs(cell.Error()));
    ratios.push_back(1 + cell.Error());
    for (size_t i = 0; i < cell.measured.size(); ++i) {
      rounds.push_back(std::abs(cell.predicted[i] / cell.measured[i] - 1));
    }
  }
  const auto percentile_90 = [](std::vector<double> sizes) {
    std::sort(sizes.begin(), sizes.end());
    return sizes[std::min(sizes.size() - 1, sizes.size() * 9 / 10)];
  };
  const double common = Median(ratios);
  std::vector<double> scaled;
  for (const double ratio : ratios) scaled.push_back(std::abs(ratio / common - 1));
  return absl::StrFormat(
      "%s, median and 90th percentile of the error: of the least times %.1f and %.1f %%; those but "
      "for "
      "one common factor, which splits are free of, %.1f and %.1f %%; within a round %.1f and %.1f "
      "%%",
      phase, 100 * Median(least), 100 * percentile_90(least), 100 * Median(scaled),
      100 * percentile_90(scaled), 100 * Median(rounds), 100 * percentile_90(rounds));
}

}  // namespace

absl::Status RunPredictionBench(const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> cpu, MakeCpuBackend({.num_threads = options.threads}));
  MeteredBackend backend(std::move(cpu));
  const SteadyClock clock;
  std::vector<PredictedCell> all;
  std::vector<double> gigabytes, gigaflops;
  for (const ResidualKind kind : options.residuals) {
    Options one = options;  // so that memory holds it
    one.residuals = {kind};
    ASSIGN_OR_RETURN(const auto models, LoadModels(one, backend));
    BenchModel& model = *models[0];
    const ModelCosts costs = CostsOf(model.decoder().config(), model.decoder().dtype());
    std::vector<PredictedCell> cells = CellsOf(options, model);
    for (int round = 0; round < options.repeats; ++round) {
      ASSIGN_OR_RETURN(const DevicePeaks peaks, MeasurePeaks(backend, options.dtype, clock));
      gigabytes.push_back(peaks.bytes_per_second * 1e-9);
      gigaflops.push_back(peaks.flops_per_second * 1e-9);
      const CostModel cost(costs, peaks);
      for (PredictedCell& cell : cells) {
        ASSIGN_OR_RETURN(const double seconds, BurstSeconds(cell.step));
        cell.measured.push_back(seconds);
        cell.predicted.push_back(SecondsOf(cost, cell.work));
      }
    }
    for (PredictedCell& cell : cells) {
      cell.step = nullptr;  // its model goes
      all.push_back(std::move(cell));
    }
  }
  Table table({"residual", "phase", "batch", "length", "measured ms", "predicted ms", "error"});
  for (const PredictedCell& cell : all) {
    table.Add({cell.kind, cell.phase, absl::StrCat(cell.batch), absl::StrCat(cell.length),
               absl::StrFormat("%.2f", 1e3 * PredictedCell::Least(cell.measured)),
               absl::StrFormat("%.2f", 1e3 * PredictedCell::Least(cell.predicted)),
               absl::StrFormat("%+.1f %%", 100 * cell.Error())});
  }
  std::printf(
      "Least time of a step in %d rounds; calibrated at best %.1f GB/s, %.0f GFLOP/s\n\n"
      "%s\n%s\n%s\n\n",
      options.repeats, *std::max_element(gigabytes.begin(), gigabytes.end()),
      *std::max_element(gigaflops.begin(), gigaflops.end()), table.ToString().c_str(),
      Summary(all, "decode").c_str(), Summary(all, "prefill").c_str());
  return absl::OkStatus();
}

}  // namespace deltaserve::bench
