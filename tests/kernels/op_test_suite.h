// The test of every op, for any backend: results near the reference backend's on seeded random
// inputs of odd sizes, and rows that are the same bits alone, in a batch and in any chunk.
//
// A backend joins by linking deltaserve_op_test_suite and instantiating OpTest once:
//
//   INSTANTIATE_TEST_SUITE_P(Cpu, OpTest, testing::Values(OpTestParam{...}), OpTestName);
#ifndef DELTASERVE_TESTS_KERNELS_OP_TEST_SUITE_H_
#define DELTASERVE_TESTS_KERNELS_OP_TEST_SUITE_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/kernels/test_device.h"
#include "tests/kernels/token_rows.h"

namespace deltaserve {

struct OpTestParam {
  std::string name;  // "fp32"
  std::function<std::unique_ptr<Backend>()> make_backend;
  DType dtype = DType::kF32;
};

inline void PrintTo(const OpTestParam& param, std::ostream* out) { *out << param.name; }

inline std::string OpTestName(const testing::TestParamInfo<OpTestParam>& info) {
  return info.param.name;
}

class OpTest : public testing::TestWithParam<OpTestParam> {
 protected:
  TestDevice Device() const;
  // Sees the same numbers as Device(), and computes in fp32.
  TestDevice ReferenceDevice() const;
  bool bf16() const { return GetParam().dtype == DType::kBF16; }

  // The tolerance of a result held in the model dtype, whose fp32 value is within `absolute`: bf16
  // adds a rounding of at most half a unit in the last place, 2^-9, and where the error before it
  // moves the value to the other side of a tie, as much again.
  Tolerance ModelTolerance(float absolute) const { return {absolute, bf16() ? 0x1p-8f : 1e-5f}; }
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_KERNELS_OP_TEST_SUITE_H_
