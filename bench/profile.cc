#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/engine_bench.h"
#include "bench/table.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

constexpr int kStepsPerRepeat = 4;

struct StepProfile {
  double seconds = std::numeric_limits<double>::max();  // the least, as are those of the ops
  std::map<MeteredBackend::OpKey, MeteredBackend::OpTime> ops;

  void Add(double step_seconds,
           const std::map<MeteredBackend::OpKey, MeteredBackend::OpTime>& times) {
    seconds = std::min(seconds, step_seconds);
    for (const auto& [key, time] : times) {
      const auto [found, is_new] = ops.emplace(key, time);
      if (!is_new) found->second.seconds = std::min(found->second.seconds, time.seconds);
    }
  }

  std::string ToString() const {
    std::vector<std::pair<MeteredBackend::OpKey, MeteredBackend::OpTime>> sorted(ops.begin(),
                                                                                 ops.end());
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    Table table({"op", "calls", "ms", "share", "weights GB/s", "GFLOP/s"});
    double rest = seconds;
    for (const auto& [key, time] : sorted) {
      const bool is_product = key.in > 0;
      rest -= time.seconds;
      table.Add(
          {is_product ? absl::StrCat(std::string(key.op), " ", key.in, " to ", key.out)
                      : std::string(key.op),
           absl::StrCat(time.calls), absl::StrFormat("%.3f", time.seconds * 1e3),
           absl::StrFormat("%.1f %%", 100 * time.seconds / seconds),
           is_product ? absl::StrFormat("%.1f", time.work.weight_bytes * 1e-9 / time.seconds) : "",
           is_product ? absl::StrFormat("%.0f", time.work.flops * 1e-9 / time.seconds) : ""});
    }
    table.Add({"outside of ops", "", absl::StrFormat("%.3f", rest * 1e3),
               absl::StrFormat("%.1f %%", 100 * rest / seconds), "", ""});
    return table.ToString();
  }
};

}  // namespace

absl::Status RunProfile(const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> cpu, MakeCpuBackend({.num_threads = options.threads}));
  MeteredBackend backend(std::move(cpu));
  ASSIGN_OR_RETURN(const auto models, LoadModels(options, backend));
  ASSIGN_OR_RETURN(const std::unique_ptr<Machine> machine,
                   Machine::Make(backend, options.dtype, options.threads));

  struct Profiled {
    std::string title;
    std::function<absl::StatusOr<double>()> step;
    StepProfile profile;
  };
  std::vector<Profiled> all;
  for (const auto& model : models) {
    const std::string kind(Name(model->kind()));
    for (const int64_t batch : options.batches) {
      all.push_back({absl::StrCat(kind, ", decode, batch ", batch, ", context ", options.context),
                     [&model, batch] { return model->Decode(batch); },
                     {}});
    }
    all.push_back({absl::StrCat(kind, ", prefill of ", kPrefillTokens),
                   [&model] { return model->Prefill(kPrefillTokens); },
                   {}});
  }
  MachineLimits best;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    for (Profiled& next : all) {
      for (int i = 0; i < kStepsPerRepeat; ++i) {
        backend.Reset(/*time_ops=*/true);
        ASSIGN_OR_RETURN(const double seconds, next.step());
        next.profile.Add(seconds, backend.times());
      }
      ASSIGN_OR_RETURN(const MachineLimits limits, machine->Measure());
      best.read_gb_s = std::max(best.read_gb_s, limits.read_gb_s);
      best.matmul_gflops = std::max(best.matmul_gflops, limits.matmul_gflops);
    }
    std::fprintf(stderr, "profile: round %d of %d\n", repeat + 1, options.repeats);
  }

  absl::PrintF("%s, %s; the machine at best: read %.1f GB/s, matmul %.0f GFLOP/s\n", options.shape,
               Name(options.dtype), best.read_gb_s, best.matmul_gflops);
  for (const Profiled& profiled : all) {
    absl::PrintF("\n%s: %.3f ms\n\n%s", profiled.title, profiled.profile.seconds * 1e3,
                 profiled.profile.ToString());
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::bench
