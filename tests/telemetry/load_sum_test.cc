#include "server/telemetry/load_sum.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace deltaserve {
namespace {

class Recorder final : public StepObserver {
 public:
  void OnStepBegin(std::string_view, SteadyNs) override { ++begun; }
  bool WantsGates(std::string_view model) override { return model == "a"; }
  void OnStep(const StepStats& step) override { tokens += step.decode_tokens; }
  void OnLoad(const ModelLoad& load) override {
    ++loads;
    last = load;
    model = std::string(load.model);
  }

  int begun = 0;
  int loads = 0;
  int64_t tokens = 0;
  ModelLoad last;
  std::string model;
};

ModelLoad Load(std::string_view model, int64_t running, int64_t free) {
  ModelLoad load;
  load.model = model;
  load.requests_running = running;
  load.pages_free = free;
  return load;
}

TEST(LoadSumTest, LoadsOfAModelAddUp) {
  Recorder recorder;
  LoadSum sum(recorder);
  StepObserver& first = sum.AddDevice();
  StepObserver& second = sum.AddDevice();
  first.OnLoad(Load("a", 3, 10));
  EXPECT_EQ(recorder.last.requests_running, 3);
  second.OnLoad(Load("a", 2, 20));
  EXPECT_EQ(recorder.last.requests_running, 5);
  EXPECT_EQ(recorder.last.pages_free, 30);
  EXPECT_EQ(recorder.model, "a");
  second.OnLoad(Load("b", 7, 1));
  EXPECT_EQ(recorder.last.requests_running, 7);
  first.OnLoad(Load("a", 0, 13));
  EXPECT_EQ(recorder.last.requests_running, 2);
  EXPECT_EQ(recorder.last.pages_free, 33);
}

TEST(LoadSumTest, ALoadThatIsAsItWasIsNoNews) {
  Recorder recorder;
  LoadSum sum(recorder);
  StepObserver& first = sum.AddDevice();
  StepObserver& second = sum.AddDevice();
  first.OnLoad(Load("a", 3, 10));
  first.OnLoad(Load("a", 3, 10));
  EXPECT_EQ(recorder.loads, 1);
  first.OnLoad(Load("b", 3, 10));
  second.OnLoad(Load("a", 3, 10));
  EXPECT_EQ(recorder.loads, 3);
  EXPECT_EQ(recorder.last.requests_running, 6);
  first.OnLoad(Load("a", 3, 9));
  EXPECT_EQ(recorder.loads, 4);
  EXPECT_EQ(recorder.last.pages_free, 19);
}

TEST(LoadSumTest, TheRestIsHandedOn) {
  Recorder recorder;
  LoadSum sum(recorder);
  StepObserver& device = sum.AddDevice();
  device.OnStepBegin("a", 1);
  StepStats step;
  step.decode_tokens = 4;
  device.OnStep(step);
  EXPECT_EQ(recorder.begun, 1);
  EXPECT_EQ(recorder.tokens, 4);
  EXPECT_TRUE(device.WantsGates("a"));
  EXPECT_FALSE(device.WantsGates("b"));
}

}  // namespace
}  // namespace deltaserve
