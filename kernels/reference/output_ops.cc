#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "kernels/reference/reference_ops.h"
#include "kernels/uniform_draw.h"

namespace deltaserve::reference {
namespace {

static_assert(sizeof(SamplingRow) == 64 && sizeof(LogitEdit) == 16);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

bool AllFinite(const float* logits, int64_t vocab) {
  return std::all_of(logits, logits + vocab, [](float z) { return std::isfinite(z); });
}

// Every id, the highest logit first, ties by the lowest id.
std::vector<int32_t> Ranking(const float* logits, int64_t vocab) {
  std::vector<int32_t> ids(vocab);
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  return ids;
}

float Edited(float logit, const LogitEdit& edit, const SamplingRow& row) {
  if (edit.banned) return -kInfinity;
  logit += edit.bias;
  if (edit.seen) {
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  }
  return logit - (row.frequency_penalty * static_cast<float>(edit.count) +
                  row.presence_penalty * static_cast<float>(edit.count > 0));
}

// The ids that top_k, then top_p, then min_p leave, in id order. `weights` are the probabilities up
// to a factor that makes the highest one 1; `ranking` is by weight.
std::vector<int32_t> Survivors(const SamplingRow& row, const std::vector<int32_t>& ranking,
                               const std::vector<double>& weights) {
  std::vector<int32_t> ids = ranking;
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(ids.size())) ids.resize(row.top_k);
  if (row.top_p < 1) {
    double total = 0;
    for (int32_t id : ids) total += weights[id];
    double reached = 0;
    size_t count = 0;
    while (count < ids.size() && (count == 0 || reached < row.top_p * total)) {
      reached += weights[ids[count++]];
    }
    ids.resize(count);
  }
  std::erase_if(ids, [&](int32_t id) { return weights[id] < row.min_p || weights[id] == 0; });
  std::sort(ids.begin(), ids.end());
  return ids;
}

int32_t Draw(const SamplingRow& row, const std::vector<int32_t>& survivors,
             const std::vector<double>& weights) {
  double total = 0;
  for (int32_t id : survivors) total += weights[id];
  const double target = total * UniformDraw(row.seed, static_cast<uint32_t>(row.stream),
                                            static_cast<uint32_t>(row.position));
  double reached = 0;
  for (int32_t id : survivors) {
    reached += weights[id];
    if (reached > target) return id;
  }
  return survivors.back();
}

// None where a logit is not finite or every id is banned.
std::optional<int32_t> SampleRow(const SampleParams& p, const SamplingRow& row) {
  const int64_t vocab = p.logits.dim(1);
  const float* raw = p.logits.Row<float>(row.logits_row - p.first_row);
  if (!AllFinite(raw, vocab)) return std::nullopt;

  std::vector<float> logits(raw, raw + vocab);
  for (int32_t e = row.edits_begin; e < row.edits_end; ++e) {
    const LogitEdit& edit = p.edits.As<const LogitEdit>()[e];
    logits[edit.id] = Edited(logits[edit.id], edit, row);
  }
  const std::vector<int32_t> ranking = Ranking(logits.data(), vocab);
  const float highest = logits[ranking[0]];
  if (highest == -kInfinity) return std::nullopt;
  if (row.temperature == 0) return ranking[0];

  std::vector<double> weights(vocab);
  for (int64_t id = 0; id < vocab; ++id) {
    weights[id] = std::exp((static_cast<double>(logits[id]) - highest) / row.temperature);
  }
  return Draw(row, Survivors(row, ranking, weights), weights);
}

struct RankedRow {
  bool finite = false;
  std::vector<int32_t> ranking;
  std::vector<float> log_probs;
};

RankedRow RankRow(const float* logits, int64_t vocab) {
  RankedRow row{.finite = AllFinite(logits, vocab), .ranking = {}, .log_probs = {}};
  if (!row.finite) return row;
  row.ranking = Ranking(logits, vocab);
  const double highest = logits[row.ranking[0]];
  double sum = 0;
  for (int64_t id = 0; id < vocab; ++id) sum += std::exp(logits[id] - highest);
  for (int64_t id = 0; id < vocab; ++id) {
    row.log_probs.push_back(static_cast<float>(logits[id] - highest - std::log(sum)));
  }
  return row;
}

}  // namespace

void Sample(const SampleParams& p) {
  for (int64_t m = 0; m < p.num_rows; ++m) {
    const SamplingRow& row = p.rows.As<const SamplingRow>()[m];
    assert(row.logits_row >= p.first_row && row.logits_row < p.first_row + p.logits.dim(0));
    const std::optional<int32_t> id = SampleRow(p, row);
    p.sampled_ids.As<int32_t>()[m] = id.value_or(-1);
    if (id) p.last_ids.As<int32_t>()[row.state_slot] = *id;
  }
}

void LogProbs(const LogProbsParams& p) {
  const int64_t vocab = p.logits.dim(1);
  const int32_t* offsets = p.target_offsets.As<int32_t>();
  for (int64_t r = 0; r < p.logits.dim(0); ++r) {
    const int64_t begin = offsets[r] - offsets[0], end = offsets[r + 1] - offsets[0];
    if (begin == end && p.top_k == 0) continue;
    const RankedRow row = RankRow(p.logits.Row<float>(r), vocab);

    for (int64_t n = begin; n < end; ++n) {
      int32_t id = p.target_ids.As<int32_t>()[n];
      if (id < 0) id = p.sampled_ids.As<int32_t>()[-1 - id];
      const bool known = row.finite && id >= 0;  // a sampled id can be -1
      p.target_logprobs.As<float>()[n] = known ? row.log_probs[id] : kNan;
      p.target_is_greedy.As<int32_t>()[n] = known && id == row.ranking[0];
    }
    for (int64_t n = 0; n < p.top_k; ++n) {
      const bool known = row.finite && n < vocab;
      p.top_ids.Row<int32_t>(r)[n] = known ? row.ranking[n] : -1;
      p.top_logprobs.Row<float>(r)[n] = known ? row.log_probs[row.ranking[n]] : kNan;
    }
  }
}

}  // namespace deltaserve::reference
