// One call of Sample in plain values.
#ifndef DELTASERVE_TESTS_KERNELS_SAMPLING_CASE_H_
#define DELTASERVE_TESTS_KERNELS_SAMPLING_CASE_H_

#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/test_device.h"

namespace deltaserve {

struct SamplingCase {
  int64_t vocab = 0;
  std::vector<float> logits;  // [R, vocab]
  std::vector<SamplingRow> rows;
  std::vector<LogitEdit> edits;
  int64_t first_row = 0;
  int64_t num_slots = 1;

  struct Result {
    std::vector<int32_t> sampled_ids;
    std::vector<int32_t> last_ids;  // -7 where nothing was written
    friend bool operator==(const Result&, const Result&) = default;
  };

  Result Run(TestDevice& device) const;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_KERNELS_SAMPLING_CASE_H_
