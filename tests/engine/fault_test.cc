// A device that fails, or hangs.
#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/failing_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Fault, EndsEveryRequestAndTheEngine) {
  for (const int waits : {0, 1, 5, 20}) {
    SCOPED_TRACE(waits);
    auto owned = std::make_unique<FailingBackend>();
    FailingBackend& backend = *owned;
    TestEngine engine(std::move(owned), {GoldenLane("ddl_tc"), GoldenLane("additive")});
    EXPECT_TRUE(engine.loop().status().ok());
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 40; ++i) {
      GenerateRequest request = SampledRequest({1, 2, 3}, 50, 1);
      request.model = i % 2 == 0 ? "ddl_tc" : "additive";
      request.n = 1 + i % 3;
      sinks.push_back(engine.Submit(request));
    }
    backend.FailAfter(waits);
    engine.Finish();
    for (const auto& sink : sinks) {
      EXPECT_EQ(sink->status().code(), absl::StatusCode::kUnavailable);
      EXPECT_THAT(std::string(sink->status().message()), testing::HasSubstr("it burns"));
      EXPECT_EQ(sink->violation(), "");
    }
    EXPECT_EQ(engine.loop().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(engine.TrySubmit(GreedyRequest({1}, 1), std::make_shared<RecordingSink>()).code(),
              absl::StatusCode::kUnavailable);
    EXPECT_TRUE(engine.everything_free());
    EXPECT_EQ(engine.loop().StalledFor(), 0);
  }
}

// Whoever is let in while the device fails is told so, and nothing is run for them.
TEST(Fault, SubmissionsDuringTheFailureEndToo) {
  auto owned = std::make_unique<FailingBackend>();
  FailingBackend& backend = *owned;
  TestEngine engine(std::move(owned), {GoldenLane("ddl_tc")});
  std::shared_ptr<RecordingSink> second;
  const auto first = engine.Submit(GreedyRequest({1, 2}, 9), [&](int32_t, int64_t num_tokens) {
    if (num_tokens != 2) return;
    backend.FailAfter(0);
    second = engine.Submit(GreedyRequest({3, 4}, 3));
  });
  engine.Finish();
  EXPECT_EQ(first->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second->violation(), "");
}

}  // namespace
}  // namespace deltaserve
