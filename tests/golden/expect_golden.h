// What every backend owes a fixture of the paper authors' code in fp32 (FORMAT.md 6).
#ifndef DELTASERVE_TESTS_GOLDEN_EXPECT_GOLDEN_H_
#define DELTASERVE_TESTS_GOLDEN_EXPECT_GOLDEN_H_

#include "tests/support/golden_fixture.h"
#include "tests/support/model_harness.h"

namespace deltaserve {

inline constexpr double kGoldenLogitTolerance = 2e-4;

// Logits, likelihood and gates of every prompt.
void ExpectFullForward(ModelHarness& harness, const GoldenFixture& fixture);
void ExpectGreedyContinuations(ModelHarness& harness, const GoldenFixture& fixture);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_GOLDEN_EXPECT_GOLDEN_H_
