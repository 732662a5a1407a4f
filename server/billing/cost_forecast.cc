#include "server/billing/cost_forecast.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace deltaserve {
namespace {

// Of steps of which nothing is known yet. The first requests reserve too much rather than too
// little.
constexpr double kUnmeasured = 10;

size_t SizeOf(double modelled_ns) {
  return std::clamp(static_cast<int>(std::log2(std::max(1.0, modelled_ns))), 0, 63);
}

double ModelledNs(const CostModel& cost, absl::Span<const SequenceWork> step) {
  const std::vector<int64_t> picoseconds = cost.Picoseconds(step);
  return 1e-3 *
         static_cast<double>(std::accumulate(picoseconds.begin(), picoseconds.end(), int64_t{0}));
}

}  // namespace

void StepTimes::Add(double modelled_ns, double measured_ns) {
  if (!(modelled_ns > 0)) return;
  const double ratio = measured_ns / modelled_ns;
  Ratio& size = sizes_[SizeOf(modelled_ns)];
  if (size.count++ == 0) {
    size.mean = ratio;
    size.deviation = ratio / 2;
    return;
  }
  size.deviation += (std::abs(ratio - size.mean) - size.deviation) / 4;
  size.mean += (ratio - size.mean) / 8;
}

double StepTimes::WorstNs(double modelled_ns, int64_t steps) const {
  if (steps <= 0) return 0;
  // A size of which little is known counts only where nothing is known better.
  constexpr int64_t kMany = 4;
  const bool any_many = std::any_of(sizes_.begin(), sizes_.end(),
                                    [](const Ratio& size) { return size.count >= kMany; });
  const double n = static_cast<double>(steps);
  double worst = 0;  // ratio
  double smallest_ns = 0;
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i].count < (any_many ? kMany : 1)) continue;
    const double ratio = sizes_[i].mean + 4 * sizes_[i].deviation / std::sqrt(n);
    // Where no step was as small, this one takes no longer than the smallest that was.
    if (worst == 0 && i > SizeOf(modelled_ns)) smallest_ns = std::exp2(i + 1) * ratio;
    worst = std::max(worst, ratio);
  }
  if (worst == 0) worst = kUnmeasured;
  return n * std::max(worst * modelled_ns, smallest_ns);
}

void CostForecast::AddModel(std::string_view name, const CostModel& cost) {
  MutexLock lock(&mutex_);
  models_[std::string(name)].cost = cost;
}

void CostForecast::OnStep(const StepStats& step) {
  if (step.failed || step.work.empty()) return;
  MutexLock lock(&mutex_);
  const auto model = models_.find(step.model);
  if (model == models_.end()) return;
  model->second.times.Add(ModelledNs(model->second.cost, step.work),
                          static_cast<double>(step.end - step.begin));
}

void CostForecast::OnUsed(const DeviceUse& use) {
  if (!use.energy_uj) return;
  MutexLock lock(&mutex_);
  used_ns_ += static_cast<double>(use.device_ns);
  used_uj_ += static_cast<double>(*use.energy_uj);
}

const CostForecast::Model* CostForecast::FindLocked(const std::string& name) const {
  const auto model = models_.find(name);
  return model == models_.end() ? nullptr : &model->second;
}

double CostForecast::PromptNs(const Model& model, int64_t tokens, int64_t rows) const {
  double ns = 0;
  for (int64_t done = 0; done < tokens;) {
    SequenceWork chunk;
    chunk.tokens = std::min(tokens - done, max_batch_tokens_);
    done += chunk.tokens;
    chunk.kv_len = done;
    // Those of the last positions.
    chunk.logit_rows = std::clamp<int64_t>(rows - (tokens - done), 0, chunk.tokens);
    ns += model.times.WorstNs(ModelledNs(model.cost, {&chunk, 1}));
  }
  return ns;
}

Picodollars CostForecast::CostLocked(double device_ns) const {
  const int64_t ns = std::llround(std::ceil(device_ns));
  std::optional<int64_t> energy_uj;
  if (used_ns_ > 0) energy_uj = std::llround(std::ceil(device_ns * used_uj_ / used_ns_));
  return prices_.CostOf(ns, energy_uj).value_or(0);
}

Picodollars CostForecast::WorstCase(const GenerateRequest& request) const {
  MutexLock lock(&mutex_);
  const Model* model = FindLocked(request.model);
  if (model == nullptr) return 0;
  const int64_t prompt = request.prompt.size();
  // The prompt's last position gives the first token. Time is linear in the length of the context,
  // so that the step in the middle stands for all of them.
  SequenceWork middle;
  middle.phase = Phase::kDecode;
  middle.tokens = 1;
  middle.kv_len = prompt + (request.max_tokens + 1) / 2;
  middle.logit_rows = 1;
  const std::vector<SequenceWork> samples(request.n, middle);
  return CostLocked(PromptNs(*model, prompt, 1) +
                    model->times.WorstNs(ModelledNs(model->cost, samples), request.max_tokens - 1));
}

Picodollars CostForecast::WorstCase(const ScoreRequest& request) const {
  MutexLock lock(&mutex_);
  const Model* model = FindLocked(request.model);
  if (model == nullptr) return 0;
  int64_t tokens = request.context.size();
  int64_t rows = tokens;
  if (!request.continuations.empty()) {
    rows = 0;
    for (const auto& continuation : request.continuations) rows += continuation.size();
    tokens += rows;
  }
  // As if the continuations followed each other, each attending to those before it, too.
  return CostLocked(PromptNs(*model, tokens, rows));
}

}  // namespace deltaserve
