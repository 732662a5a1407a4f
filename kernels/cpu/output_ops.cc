// Sampling and log-probabilities.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/logits_row.h"
#include "kernels/uniform_draw.h"

namespace deltaserve::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int64_t RoundUpToVector(int64_t bytes) { return (bytes + 63) / 64 * 64; }

float Edited(float logit, const LogitEdit& edit, const SamplingRow& row) {
  if (edit.banned) return -kInfinity;
  logit += edit.bias;
  if (edit.seen) {
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  }
  return logit - (row.frequency_penalty * static_cast<float>(edit.count) +
                  row.presence_penalty * static_cast<float>(edit.count > 0));
}

double Uniform(const SamplingRow& row) {
  return UniformDraw(row.seed, static_cast<uint32_t>(row.stream),
                     static_cast<uint32_t>(row.position));
}

// In double, as few ids need it.
double Weight(const SamplingRow& row, const LogitsRow& logits, int32_t id) {
  return std::exp((static_cast<double>(logits[id]) - logits.max()) / row.temperature);
}

// One of `ids` (best first, ids whose weight is zero among them) that survives min_p.
int32_t DrawAmong(const SamplingRow& row, const LogitsRow& logits, absl::Span<const int32_t> ids,
                  int32_t* survivors) {
  const auto weight = [&](int32_t id) { return Weight(row, logits, id); };
  int32_t* end = std::copy_if(ids.begin(), ids.end(), survivors, [&](int32_t id) {
    return weight(id) >= row.min_p && weight(id) > 0;
  });
  std::sort(survivors, end);
  double total = 0;
  for (const int32_t* id = survivors; id != end; ++id) total += weight(*id);
  const double target = total * Uniform(row);
  double reached = 0;
  for (const int32_t* id = survivors; id != end; ++id) {
    reached += weight(*id);
    if (reached > target) return *id;
  }
  return end[-1];
}

// How many of `ids`, best first, it takes for their weights to reach `target`; one more than there
// are where they do not.
int64_t CountToReach(double target, const SamplingRow& row, const LogitsRow& logits,
                     absl::Span<const int32_t> ids) {
  double reached = 0;
  for (size_t n = 0; n < ids.size(); ++n) {
    reached += Weight(row, logits, ids[n]);
    if (reached >= target) return static_cast<int64_t>(n) + 1;
  }
  return static_cast<int64_t>(ids.size()) + 1;
}

int32_t DrawTopK(const SamplingRow& row, const LogitsRow& logits, int32_t* survivors) {
  absl::Span<const int32_t> ids = logits.Top(row.top_k);
  if (row.top_p < 1) {
    double total = 0;
    for (int32_t id : ids) total += Weight(row, logits, id);
    ids =
        ids.first(std::min<int64_t>(ids.size(), CountToReach(row.top_p * total, row, logits, ids)));
  }
  return DrawAmong(row, logits, ids, survivors);
}

int32_t DrawTopP(const SamplingRow& row, const LogitsRow& logits, int32_t* survivors) {
  const double target = row.top_p * logits.ComputeWeights(row.temperature, 0);
  // The nucleus of a trained model is nearly always found among a few.
  const absl::Span<const int32_t> ids = logits.Top(std::min<int64_t>(256, logits.vocab()));
  const int64_t count = CountToReach(target, row, logits, ids);
  if (count <= static_cast<int64_t>(ids.size())) {
    return DrawAmong(row, logits, ids.first(count), survivors);
  }
  const double total = logits.KeepNucleus(target, row.temperature, row.min_p);
  return logits.Invert(total * Uniform(row));
}

struct SampleScratch {
  float* edited;       // [vocab]
  int32_t* survivors;  // [vocab]
  void* row;           // LogitsRow::ScratchBytes(vocab)

  static int64_t SizeBytes(int64_t vocab) {
    return 2 * RoundUpToVector(vocab * sizeof(float)) + LogitsRow::ScratchBytes(vocab);
  }
  SampleScratch(char* memory, int64_t vocab)
      : edited(reinterpret_cast<float*>(memory)),
        survivors(reinterpret_cast<int32_t*>(memory + RoundUpToVector(vocab * sizeof(float)))),
        row(memory + 2 * RoundUpToVector(vocab * sizeof(float))) {}
};

// -1 where a logit is not finite or every id is banned.
int32_t SampleRow(const SampleParams& p, const SamplingRow& row, const SampleScratch& scratch) {
  const int64_t vocab = p.logits.dim(1);
  const float* raw = p.logits.Row<float>(row.logits_row - p.first_row);
  LogitsRow logits(raw, vocab, scratch.row);
  if (!logits.finite()) return -1;
  if (row.edits_begin < row.edits_end) {
    std::copy_n(raw, vocab, scratch.edited);
    for (int32_t e = row.edits_begin; e < row.edits_end; ++e) {
      const LogitEdit& edit = p.edits.As<const LogitEdit>()[e];
      scratch.edited[edit.id] = Edited(scratch.edited[edit.id], edit, row);
    }
    logits = LogitsRow(scratch.edited, vocab, scratch.row);
    if (logits.max() == -kInfinity) return -1;
  }
  if (row.temperature == 0) return logits.ArgMax();
  if (row.top_k > 0 && row.top_k < vocab) return DrawTopK(row, logits, scratch.survivors);
  if (row.top_p < 1) return DrawTopP(row, logits, scratch.survivors);
  const double total = logits.ComputeWeights(row.temperature, row.min_p);
  return logits.Invert(total * Uniform(row));
}

void LogProbsOfRow(const LogProbsParams& p, int64_t r, void* scratch) {
  const int32_t* offsets = p.target_offsets.As<int32_t>();
  const int64_t begin = offsets[r] - offsets[0], end = offsets[r + 1] - offsets[0];
  if (begin == end && p.top_k == 0) return;

  const LogitsRow logits(p.logits.Row<float>(r), p.logits.dim(1), scratch);
  const bool finite = logits.finite();
  const double log_sum = finite ? std::log(logits.ComputeWeights(1, 0)) : 0;
  const int32_t greedy = finite ? logits.ArgMax() : -1;
  const auto log_prob = [&](int32_t id) {
    return static_cast<float>(static_cast<double>(logits[id]) - logits.max() - log_sum);
  };
  for (int64_t n = begin; n < end; ++n) {
    int32_t id = p.target_ids.As<int32_t>()[n];
    if (id < 0) id = p.sampled_ids.As<int32_t>()[-1 - id];
    const bool known = finite && id >= 0;  // a sampled id can be -1
    p.target_logprobs.As<float>()[n] = known ? log_prob(id) : kNan;
    p.target_is_greedy.As<int32_t>()[n] = known && id == greedy;
  }
  if (p.top_k == 0) return;
  const int64_t count = finite ? std::min(p.top_k, logits.vocab()) : 0;
  const absl::Span<const int32_t> top = finite ? logits.Top(count) : absl::Span<const int32_t>();
  for (int64_t n = 0; n < p.top_k; ++n) {
    p.top_ids.Row<int32_t>(r)[n] = n < count ? top[n] : -1;
    p.top_logprobs.Row<float>(r)[n] = n < count ? log_prob(top[n]) : kNan;
  }
}

}  // namespace

void Sample(const SampleParams& p, Workers& workers) {
  const int64_t vocab = p.logits.dim(1);
  workers.ReserveScratch(SampleScratch::SizeBytes(vocab));
  workers.ForEach(p.num_rows, /*serial=*/p.num_rows * vocab < 16384, [&](int64_t m, int worker) {
    const SamplingRow& row = p.rows.As<const SamplingRow>()[m];
    p.sampled_ids.As<int32_t>()[m] =
        SampleRow(p, row, SampleScratch(workers.Scratch<char>(worker), vocab));
  });
  // Rows may share a slot: the last one has it.
  for (int64_t m = 0; m < p.num_rows; ++m) {
    const int32_t id = p.sampled_ids.As<int32_t>()[m];
    const int32_t slot = p.rows.As<const SamplingRow>()[m].state_slot;
    if (id >= 0) p.last_ids.As<int32_t>()[slot] = id;
  }
}

void LogProbs(const LogProbsParams& p, Workers& workers) {
  const int64_t rows = p.logits.dim(0), vocab = p.logits.dim(1);
  workers.ReserveScratch(LogitsRow::ScratchBytes(vocab));
  workers.ForEach(rows, /*serial=*/rows * vocab < 16384, [&](int64_t r, int worker) {
    LogProbsOfRow(p, r, workers.Scratch<void>(worker));
  });
}

}  // namespace deltaserve::cpu
