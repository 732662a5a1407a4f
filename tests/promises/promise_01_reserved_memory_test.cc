// Promise 1: scoring a prompt of any legal length never needs memory that was not reserved at
// start.
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

class CountingBackend final : public ForwardingBackend {
 public:
  CountingBackend() : ForwardingBackend(MakeReferenceBackend()) {}
  int64_t allocations() const { return allocations_; }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    ++allocations_;
    return ForwardingBackend::Allocate(size_bytes);
  }

 private:
  std::atomic<int64_t> allocations_ = 0;
};

TEST(Promise01, ScoringNeedsNoMoreMemory) {
  for (const int64_t max_batch_tokens : {16, 300}) {
    SCOPED_TRACE(max_batch_tokens);
    auto owned = std::make_unique<CountingBackend>();
    const CountingBackend& backend = *owned;
    LaneOptions lane = GoldenLane("ddl_tc_ec");
    lane.max_batch_tokens = max_batch_tokens;
    TestEngine engine(std::move(owned), {lane});
    const int64_t at_start = backend.allocations();

    const int64_t longest = engine.info().max_sequence_tokens;
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    ScoreRequest sequence = SequenceRequest(std::vector<int32_t>(longest, 5));
    sequence.top_k = 20;
    sequence.trace = true;
    ScoreRequest continuations = SequenceRequest(std::vector<int32_t>(longest / 2, 5));
    for (int64_t i = 0; i < lane.max_continuations; ++i) {
      continuations.continuations.emplace_back(1 + i % 20, static_cast<int32_t>(i));
    }
    GenerateRequest samples = SampledRequest({1, 2, 3}, 20, 1);
    samples.n = 16;
    samples.logprobs = 20;
    for (int i = 0; i < 4; ++i) {
      sinks.push_back(engine.Submit(sequence));
      sinks.push_back(engine.Submit(continuations));
      sinks.push_back(engine.Submit(samples));
    }
    engine.Finish();
    for (const auto& sink : sinks) EXPECT_TRUE(sink->status().ok()) << sink->status();
    EXPECT_EQ(backend.allocations(), at_start);
  }
}

}  // namespace
}  // namespace deltaserve
