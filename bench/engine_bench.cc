#include "bench/engine_bench.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_format.h"
#include "bench/random_models.h"
#include "bench/stats.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

// A burst's first step brings the model back into what caches there are and is not counted. Bursts
// are short, so that cells that are compared run within a second or two of each other: the
// bandwidth of a shared host may double from one to the next.
constexpr double kBurstSeconds = 0.06;

struct ScheduledCell {
  Cell* cell;
  StepFunction step;
};

// In the order in which they run: what is to be compared lies side by side.
absl::StatusOr<std::vector<ScheduledCell>> Schedule(
    const Options& options, const std::vector<std::unique_ptr<BenchModel>>& models,
    std::vector<EngineResult>& results) {
  std::vector<ScheduledCell> schedule;
  results.resize(models.size());
  for (const int64_t batch : options.batches) {
    for (size_t i = 0; i < models.size(); ++i) {
      BenchModel* model = models[i].get();
      results[i].kind = model->kind();
      Cell& cell = results[i].decode[batch];
      cell.tokens = batch;
      ASSIGN_OR_RETURN(cell.work, model->DecodeWork(batch));
      schedule.push_back({&cell, [model, batch] { return model->Decode(batch); }});
    }
  }
  const auto add_prefill = [&](Cell EngineResult::*which, int64_t num_tokens) -> absl::Status {
    for (size_t i = 0; i < models.size(); ++i) {
      BenchModel* model = models[i].get();
      Cell& cell = results[i].*which;
      cell.tokens = num_tokens;
      ASSIGN_OR_RETURN(cell.work, model->PrefillWork(num_tokens));
      schedule.push_back({&cell, [model, num_tokens] { return model->Prefill(num_tokens); }});
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add_prefill(&EngineResult::prefill, kPrefillTokens));
  RETURN_IF_ERROR(add_prefill(&EngineResult::prompt, options.PromptTokens()));
  return schedule;
}

// Of one model on the backend, its cache for all sequences included; a little more than it takes.
int64_t ModelBytes(const Options& options, const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  const int64_t block = 4 * width * config.attention_width() + 3 * width * config.MlpWidth();
  const int64_t weights = config.num_hidden_layers * block + 2 * config.vocab_size * width;
  const int64_t max_batch = *std::max_element(options.batches.begin(), options.batches.end());
  const int64_t cached_tokens = max_batch * (options.context + 64) + kPrefillTokens;
  const int64_t cache = cached_tokens * config.num_hidden_layers * 2 * config.attention_width();
  return (weights + cache) * SizeBytes(options.dtype) + (int64_t{64} << 20);
}

}  // namespace

absl::StatusOr<double> BurstSeconds(const StepFunction& step) {
  RETURN_IF_ERROR(step().status());
  std::vector<double> seconds;
  for (double sum = 0; sum < kBurstSeconds;) {
    ASSIGN_OR_RETURN(seconds.emplace_back(), step());
    sum += seconds.back();
  }
  return Median(std::move(seconds));
}

absl::StatusOr<std::vector<std::unique_ptr<BenchModel>>> LoadModels(const Options& options,
                                                                    MeteredBackend& backend) {
  const int64_t needed = static_cast<int64_t>(options.residuals.size()) *
                         ModelBytes(options, ShapeConfig(options.shape, options.residuals[0]));
  if (const int64_t available = AvailableMemoryBytes(); needed > available) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%d models take about %.1f GB of memory together, and %.1f GB are free; ask for fewer with "
        "--residual, or a smaller --batch or --context",
        options.residuals.size(), needed * 1e-9, available * 1e-9));
  }
  BenchModel::Sizes sizes;
  sizes.max_batch = *std::max_element(options.batches.begin(), options.batches.end());
  sizes.context = options.context;
  sizes.max_prefill = std::max(kPrefillTokens, options.PromptTokens());
  std::vector<std::unique_ptr<BenchModel>> models;
  for (const ResidualKind kind : options.residuals) {
    std::fprintf(stderr, "loading %s\n", std::string(Name(kind)).c_str());
    ASSIGN_OR_RETURN(const std::filesystem::path dir,
                     RandomModel(options.models_dir, options.shape, kind, options.dtype));
    ASSIGN_OR_RETURN(models.emplace_back(), BenchModel::Load(backend, dir, options.dtype, sizes));
  }
  return models;
}

absl::Status RunEngineBench(const Options& options, Results& results) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> cpu, MakeCpuBackend({.num_threads = options.threads}));
  MeteredBackend backend(std::move(cpu));
  ASSIGN_OR_RETURN(const auto models, LoadModels(options, backend));
  ASSIGN_OR_RETURN(const std::unique_ptr<Machine> machine,
                   Machine::Make(backend, options.dtype, options.threads));
  ASSIGN_OR_RETURN(const std::vector<ScheduledCell> schedule,
                   Schedule(options, models, results.engine));
  ASSIGN_OR_RETURN(MachineLimits before, machine->Measure());
  results.limits.push_back(before);
  for (int round = 0; round < options.repeats; ++round) {
    for (const ScheduledCell& next : schedule) {
      ASSIGN_OR_RETURN(const double seconds, BurstSeconds(next.step));
      ASSIGN_OR_RETURN(const MachineLimits after, machine->Measure());
      const MachineLimits limits = {(before.read_gb_s + after.read_gb_s) / 2,
                                    (before.matmul_gflops + after.matmul_gflops) / 2};
      next.cell->rounds.push_back({seconds, limits});
      results.limits.push_back(after);
      before = after;
    }
    std::fprintf(stderr, "engine: round %d of %d: read %.1f GB/s, matmul %.0f GFLOP/s\n", round + 1,
                 options.repeats, before.read_gb_s, before.matmul_gflops);
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::bench
