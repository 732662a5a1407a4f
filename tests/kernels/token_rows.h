// Per-token numbers of a few sequences, and the many ways to cut the sequences into steps. An op's
// results have to be the same bits for all of them.
#ifndef DELTASERVE_TESTS_KERNELS_TOKEN_ROWS_H_
#define DELTASERVE_TESTS_KERNELS_TOKEN_ROWS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/test_device.h"

namespace deltaserve {

using Lengths = std::vector<int64_t>;  // tokens of each sequence

// Consecutive tokens of one sequence, in one call of an op.
struct TokenRun {
  int64_t sequence;
  int64_t begin;
  int64_t count;
};
using StepRuns = std::vector<TokenRun>;
using Schedule = std::vector<StepRuns>;

Schedule OneStep(const Lengths& lengths);       // everything in one call
Schedule OneByOne(const Lengths& lengths);      // each sequence whole, in a call of its own
Schedule TokenByToken(const Lengths& lengths);  // each call holds one token of one sequence
Schedule RandomChunks(const Lengths& lengths, Random& random);  // prefill and decode mixed

int64_t NumTokens(const StepRuns& step);
std::string ToString(const Schedule& schedule);

// Physical pages and slots are shuffled; page 0 and slot 0 belong to no sequence.
BatchView UploadBatch(TestDevice& device, const StepRuns& step, const Lengths& lengths);
int64_t NumPages(TestDevice& device, const Lengths& lengths);  // page 0 included
int32_t SlotOf(int64_t sequence, const Lengths& lengths);
inline int64_t NumSlots(const Lengths& lengths) { return 1 + static_cast<int64_t>(lengths.size()); }

// `width` numbers for each token.
class TokenRows {
 public:
  TokenRows() = default;
  TokenRows(const Lengths& lengths, int64_t width);
  static TokenRows Normals(const Lengths& lengths, int64_t width, Random& random, float scale = 1);

  int64_t width() const { return width_; }
  // The rows of a step in batch order, [tokens of the step, width].
  std::vector<float> Gather(const StepRuns& step) const;
  void Scatter(const StepRuns& step, const std::vector<float>& values);
  const std::vector<std::vector<float>>& sequences() const { return sequences_; }
  std::vector<std::vector<float>>& sequences() { return sequences_; }

 private:
  int64_t width_ = 0;
  std::vector<std::vector<float>> sequences_;
};

// What an op wrote, by the name of the operand.
using OpResults = std::map<std::string, TokenRows>;

// |actual - expected| <= absolute + relative * |expected|
struct Tolerance {
  float absolute = 0;
  float relative = 0;
};

void ExpectSameBits(const OpResults& actual, const OpResults& expected);
void ExpectNear(const TokenRows& actual, const TokenRows& expected, Tolerance tolerance,
                const std::string& name);

// Runs an op under every kind of schedule and expects the results to be the same bits.
void ExpectRowsIndependent(const Lengths& lengths,
                           const std::function<OpResults(const Schedule&)>& run_op);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_KERNELS_TOKEN_ROWS_H_
