// Times decode and prefill steps of models of the shapes that count, on a GPU, the residual kinds
// side by side; and the device's own limits in the same run. bench/README.md says what the columns
// mean. Writes JSON and prints a table.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/bench_model.h"
#include "bench/metered_backend.h"
#include "bench/random_models.h"
#include "bench/stats.h"
#include "bench/stopwatch.h"
#include "kernels/cuda/cuda_backend.h"
#include "nlohmann/json.hpp"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

constexpr int kRounds = 5;
constexpr double kBurstSeconds = 0.05;
constexpr int64_t kPrefillTokens = 1024;
constexpr ResidualKind kKinds[] = {ResidualKind::kAdditive, ResidualKind::kDdlScalar,
                                   ResidualKind::kDdlCcEc, ResidualKind::kDdlTcEc};

struct Limits {
  double bytes_per_second = 0;  // of a copy, read and written bytes together
  double flops = 0;             // a second, of a bf16 product of large matrices
};

absl::StatusOr<double> SecondsOf(Backend& backend, const std::function<void()>& op) {
  constexpr int kCalls = 20;
  std::vector<double> seconds;
  for (int repeat = 0; repeat < 5; ++repeat) {
    RETURN_IF_ERROR(backend.Synchronize());
    const Stopwatch stopwatch;
    for (int call = 0; call < kCalls; ++call) op();
    RETURN_IF_ERROR(backend.Synchronize());
    seconds.push_back(stopwatch.Seconds() / kCalls);
  }
  return *std::min_element(seconds.begin(), seconds.end());
}

std::vector<uint16_t> RandomBFloat16(int64_t count) {
  std::minstd_rand random(1);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    value = ToBFloat16(static_cast<float>(random() % 2048) / 1024.0f - 1.0f);
  }
  return values;
}

absl::StatusOr<Limits> MeasureLimits(Backend& backend) {
  Limits limits;
  {
    constexpr int64_t kRows = 2048, kRowBytes = 512 << 10;
    ASSIGN_OR_RETURN(const Buffer data, backend.Allocate(kRows * kRowBytes));
    ASSIGN_OR_RETURN(const Buffer pairs, backend.Allocate(kRows / 2 * 8));
    std::vector<int32_t> h_pairs;
    for (int32_t row = 0; row < kRows / 2; ++row) h_pairs.insert(h_pairs.end(), {row, row + 1024});
    backend.CopyToDevice(pairs.data(), h_pairs.data(), pairs.size_bytes());
    const CopyRowsParams copy = {.data = data.View(DType::kF32, {kRows, kRowBytes / 4}),
                                 .pairs = pairs.View(DType::kI32, {kRows / 2, 2})};
    ASSIGN_OR_RETURN(const double seconds, SecondsOf(backend, [&] { backend.CopyRows(copy); }));
    limits.bytes_per_second = static_cast<double>(kRows * kRowBytes) / seconds;
  }
  constexpr int64_t kSize = 8192;
  const std::vector<uint16_t> values = RandomBFloat16(kSize * kSize);
  const HostMatrix part = {values.data(), DType::kBF16, kSize, kSize};
  ASSIGN_OR_RETURN(const auto weight, backend.PackLinear({&part, 1}, DType::kBF16));
  ASSIGN_OR_RETURN(const Buffer x, backend.Allocate(kSize * kSize * 2));
  ASSIGN_OR_RETURN(const Buffer y, backend.Allocate(kSize * kSize * 2));
  backend.CopyToDevice(x.data(), values.data(), x.size_bytes());
  const LinearParams product = {.weight = weight.get(),
                                .x = x.View(DType::kBF16, {kSize, kSize}),
                                .y = y.View(DType::kBF16, {kSize, kSize})};
  ASSIGN_OR_RETURN(const double seconds, SecondsOf(backend, [&] { backend.Linear(product); }));
  limits.flops = 2.0 * kSize * kSize * kSize / seconds;
  return limits;
}

struct Cell {
  int64_t tokens = 0;
  StepWork work;
  std::vector<double> rounds;  // seconds of a step
};

// Of one model: by batch, and 0 for the prefill.
using Cells = std::map<int64_t, Cell>;

absl::StatusOr<double> Burst(BenchModel& model, int64_t batch) {
  std::vector<double> seconds;
  // The first makes plans, the second a graph.
  for (int n = 0; n < 3; ++n) {
    RETURN_IF_ERROR((batch == 0 ? model.Prefill(kPrefillTokens) : model.Decode(batch)).status());
  }
  for (double sum = 0; sum < kBurstSeconds; sum += seconds.back()) {
    ASSIGN_OR_RETURN(seconds.emplace_back(),
                     batch == 0 ? model.Prefill(kPrefillTokens) : model.Decode(batch));
  }
  return Median(std::move(seconds));
}

struct CommandLine {
  std::string models_dir, json, commit;
  std::vector<std::string> shapes = {"small", "medium"};
  std::vector<int64_t> contexts = {128, 1024};
  std::vector<int64_t> batches = {1, 8, 64, 256};
};

// performance.md's goals: tokens a second of the additive model at context 128, and what a kind
// reaches of it, by batch; 0 is the prefill.
double Goal(const std::string& shape, int64_t batch) {
  static const std::map<std::pair<std::string, int64_t>, double> goals = {
      {{"small", 1}, 5000},    {{"small", 64}, 210000}, {{"small", 256}, 390000},
      {{"small", 0}, 2000000}, {{"medium", 1}, 2100},   {{"medium", 256}, 150000},
      {{"medium", 0}, 750000}};
  const auto found = goals.find({shape, batch});
  return found == goals.end() ? 0 : found->second;
}
double GoalRatio(ResidualKind kind, int64_t batch) {
  static const std::map<std::pair<ResidualKind, int64_t>, double> goals = {
      {{ResidualKind::kDdlScalar, 0}, 0.97},  {{ResidualKind::kDdlScalar, 1}, 0.97},
      {{ResidualKind::kDdlScalar, 64}, 0.98}, {{ResidualKind::kDdlScalar, 256}, 0.98},
      {{ResidualKind::kDdlCcEc, 0}, 0.85},    {{ResidualKind::kDdlCcEc, 1}, 0.93},
      {{ResidualKind::kDdlCcEc, 64}, 0.95},   {{ResidualKind::kDdlCcEc, 256}, 0.96},
      {{ResidualKind::kDdlTcEc, 0}, 0.80},    {{ResidualKind::kDdlTcEc, 1}, 0.92},
      {{ResidualKind::kDdlTcEc, 64}, 0.92},   {{ResidualKind::kDdlTcEc, 256}, 0.90}};
  const auto found = goals.find({kind, batch});
  return found == goals.end() ? 0 : found->second;
}

std::string OrBlank(double value, const char* format) {
  if (value == 0) return "";
  return std::string(format) == "%.2f" ? absl::StrFormat("%.2f", value)
                                       : absl::StrFormat("%.0f", value);
}

// One shape and context: all kinds, loaded together so that they take turns.
absl::Status MeasureShape(const CommandLine& line, const std::string& shape, int64_t context,
                          MeteredBackend& backend, const Limits& limits,
                          nlohmann::ordered_json& rows) {
  BenchModel::Sizes sizes;
  sizes.max_batch = *std::max_element(line.batches.begin(), line.batches.end());
  sizes.context = context;
  sizes.max_prefill = kPrefillTokens;
  // What 256 long sequences of four models keep would not fit beside each other.
  if (shape == "medium" && context > 256) sizes.max_batch = std::min<int64_t>(sizes.max_batch, 64);

  std::vector<int64_t> batches = {0};
  for (const int64_t batch : line.batches) {
    if (batch <= sizes.max_batch) batches.push_back(batch);
  }
  std::vector<std::unique_ptr<BenchModel>> models;
  for (const ResidualKind kind : kKinds) {
    std::fprintf(stderr, "loading %s %s\n", shape.c_str(), std::string(Name(kind)).c_str());
    ASSIGN_OR_RETURN(const std::filesystem::path dir,
                     RandomModel(line.models_dir, shape, kind, DType::kBF16));
    ASSIGN_OR_RETURN(models.emplace_back(), BenchModel::Load(backend, dir, DType::kBF16, sizes));
  }
  std::vector<Cells> cells(models.size());
  for (int round = 0; round < kRounds; ++round) {
    for (const int64_t batch : batches) {
      for (size_t i = 0; i < models.size(); ++i) {
        Cell& cell = cells[i][batch];
        if (round == 0) {
          cell.tokens = batch == 0 ? kPrefillTokens : batch;
          ASSIGN_OR_RETURN(cell.work, batch == 0 ? models[i]->PrefillWork(kPrefillTokens)
                                                 : models[i]->DecodeWork(batch));
        }
        ASSIGN_OR_RETURN(cell.rounds.emplace_back(), Burst(*models[i], batch));
      }
    }
  }

  for (const int64_t batch : batches) {
    for (size_t i = 0; i < models.size(); ++i) {
      const Cell& cell = cells[i].at(batch);
      const double seconds = Median(cell.rounds);
      std::vector<double> ratios;
      for (int round = 0; round < kRounds; ++round) {
        ratios.push_back(cells[0].at(batch).rounds[round] / cell.rounds[round]);
      }
      const double bytes = static_cast<double>(cell.work.matmul.weight_bytes + cell.work.kv_bytes);
      const bool stated = context == 128;
      nlohmann::ordered_json row = {
          {"shape", shape},
          {"residual", std::string(Name(models[i]->kind()))},
          {"step", batch == 0 ? "prefill" : "decode"},
          {"batch", batch == 0 ? 1 : batch},
          {"context", batch == 0 ? kPrefillTokens : context},
          {"step_us", seconds * 1e6},
          {"tokens_per_s", static_cast<double>(cell.tokens) / seconds},
          {"vs_additive", Median(ratios)},
          {"mbu", bytes / seconds / limits.bytes_per_second},
          {"mfu", cell.work.matmul.flops / seconds / limits.flops},
          {"goal_tokens_per_s", stated && i == 0 ? Goal(shape, batch) : 0},
          {"goal_vs_additive", stated ? GoalRatio(models[i]->kind(), batch) : 0}};
      std::printf("| %s | %s | %s | %d | %d | %.0f | %.0f | %s | %.3f | %s | %.0f %% | %.0f %% |\n",
                  shape.c_str(), std::string(Name(models[i]->kind())).c_str(),
                  batch == 0 ? "prefill" : "decode", static_cast<int>(row["batch"]),
                  static_cast<int>(row["context"]), static_cast<double>(row["step_us"]),
                  static_cast<double>(row["tokens_per_s"]),
                  OrBlank(row["goal_tokens_per_s"], "%.0f").c_str(),
                  static_cast<double>(row["vs_additive"]),
                  OrBlank(row["goal_vs_additive"], "%.2f").c_str(),
                  100 * static_cast<double>(row["mbu"]), 100 * static_cast<double>(row["mfu"]));
      rows.push_back(std::move(row));
    }
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(const CommandLine& line) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> cuda, MakeCudaBackend({}));
  MeteredBackend backend(std::move(cuda));
  ASSIGN_OR_RETURN(const Limits limits, MeasureLimits(backend));
  nlohmann::ordered_json report = {{"commit", line.commit},
                                   {"dtype", "bf16"},
                                   {"copy_gb_per_s", limits.bytes_per_second * 1e-9},
                                   {"matmul_tflop_per_s", limits.flops * 1e-12},
                                   {"rows", nlohmann::ordered_json::array()}};
  const auto write = [&] {
    std::ofstream file(line.json, std::ios::trunc);
    file << report.dump(2) << "\n";
  };
  std::printf("Copy: %.0f GB/s read and written. Product of 8192^3 in bf16: %.0f TFLOP/s.\n\n",
              limits.bytes_per_second * 1e-9, limits.flops * 1e-12);
  std::printf(
      "| shape | residual | step | batch | context | step us | tokens/s | goal | of additive "
      "| goal | of bandwidth | of peak |\n|:--|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  for (const std::string& shape : line.shapes) {
    for (const int64_t context : line.contexts) {
      RETURN_IF_ERROR(MeasureShape(line, shape, context, backend, limits, report["rows"]));
      write();  // what there is, should the time run out
    }
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CommandLine line;
  CLI::App app("Times steps on a GPU; tests/gpu/run.sh starts it.");
  app.add_option("--models-dir", line.models_dir, "where random checkpoints are kept")->required();
  app.add_option("--json", line.json, "where the numbers go")->required();
  app.add_option("--commit", line.commit, "what the results are marked with");
  app.add_option("--shape", line.shapes, "small, medium")->delimiter(',');
  app.add_option("--context", line.contexts, "tokens of a decoding sequence")->delimiter(',');
  app.add_option("--batch", line.batches, "sequences that decode at once")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Run(line);
  if (status.ok()) return 0;
  std::fprintf(stderr, "gpu_step_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace deltaserve::bench

int main(int argc, char** argv) { return deltaserve::bench::Main(argc, argv); }
