#include "tests/golden/expect_golden.h"

#include "gtest/gtest.h"
#include "tests/golden/errors.h"

namespace deltaserve {
namespace {

constexpr double kGateTolerance = 1e-4;
constexpr double kLoglikTolerance = 1e-3;

}  // namespace

void ExpectFullForward(ModelHarness& harness, const GoldenFixture& fixture) {
  for (const GoldenPrompt& prompt : fixture.prompts) {
    SCOPED_TRACE(prompt.name);
    const ChunkOutputs outputs = harness.Forward(prompt.tokens);
    Errors logits, gates;
    logits.Add(outputs.logits, fixture.Find(prompt, "logits")->values);
    EXPECT_LE(logits.max(), kGoldenLogitTolerance);
    EXPECT_NEAR(LogLikelihood(outputs.logits, prompt.tokens), prompt.loglik, kLoglikTolerance);
    if (fixture.ddl_variant == "additive") continue;
    gates.Add(outputs.beta, fixture.Find(prompt, "beta")->values);
    gates.Add(outputs.proj, fixture.Find(prompt, "proj")->values);
    gates.Add(outputs.v, fixture.Find(prompt, "v")->values);
    EXPECT_LE(gates.max(), kGateTolerance);
  }
}

void ExpectGreedyContinuations(ModelHarness& harness, const GoldenFixture& fixture) {
  for (const GoldenPrompt& prompt : fixture.prompts) {
    SCOPED_TRACE(prompt.name);
    EXPECT_EQ(harness.Greedy(prompt.tokens, prompt.greedy.size()), prompt.greedy);
  }
}

}  // namespace deltaserve
