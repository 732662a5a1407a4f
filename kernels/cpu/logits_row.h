// One row of logits: its maximum, its highest entries and its softmax, each in a few passes over
// the row. For sampling and log-probabilities.
#ifndef DELTASERVE_KERNELS_CPU_LOGITS_ROW_H_
#define DELTASERVE_KERNELS_CPU_LOGITS_ROW_H_

#include <cstdint>

#include "absl/types/span.h"

namespace deltaserve::cpu {

// A view of the row and of scratch memory that lives as long as it.
class LogitsRow {
 public:
  // Scratch that a row of `vocab` logits needs, aligned to 64 bytes.
  static int64_t ScratchBytes(int64_t vocab);

  // logits: f32 [vocab], vocab > 0.
  LogitsRow(const float* logits, int64_t vocab, void* scratch);

  int64_t vocab() const { return vocab_; }
  float operator[](int64_t id) const { return logits_[id]; }
  // False with a NaN or an infinity, -inf included.
  bool finite() const { return finite_; }
  float max() const { return max_; }
  // The lowest id that has the maximum. Not for a row with a NaN.
  int32_t ArgMax() const;

  // The `count` <= vocab highest ids, best first, ties by lowest id. Valid until the next call.
  absl::Span<const int32_t> Top(int64_t count) const;

  // Computes weights e^((logit - max) / temperature), taking those below min_weight as zero.
  // Returns their sum.
  double ComputeWeights(float temperature, float min_weight) const;
  // Zeroes the last computed weights (with min_weight 0) outside of the smallest set of highest
  // ids, ties by lowest, whose weights reach `target`, and then those below min_weight. Returns the
  // sum of the rest.
  double KeepNucleus(double target, float temperature, float min_weight) const;
  // The first id at which the running sum of the last computed weights exceeds `target`; the last
  // one with a weight where rounding keeps the sum from getting there.
  int32_t Invert(double target) const;

 private:
  const float* logits_;
  int64_t vocab_;
  int64_t num_chunks_;
  double* chunk_sums_;    // [num_chunks]
  float* weights_;        // [vocab]
  float* chunk_maxima_;   // [num_chunks]
  float* ranked_maxima_;  // [num_chunks]
  int32_t* candidates_;   // [vocab]
  bool finite_ = false;
  float max_ = 0;
};

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_LOGITS_ROW_H_
