#include "client/cli/cost_measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/api/mutex.h"
#include "tests/client/fake_server.h"

namespace deltaserve::cli {
namespace {

using testing::AllOf;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

v1::Model ModelOf(const std::string& name, const std::string& residual) {
  v1::Model model;
  model.set_name(name);
  model.set_residual(residual);
  model.set_num_layers(2);
  model.set_hidden_size(64);
  model.set_vocab_size(50);
  model.set_max_sequence_tokens(256);
  return model;
}

// Two models, `ddl` and its additive twin `twin`. A prompt token takes 2 s and 1 s of the device,
// a completion token thrice that, and at 3600 USD an hour a second costs a dollar. Whatever is
// asked at once shares all that.
class CostMeasurementTest : public testing::Test {
 protected:
  CostMeasurementTest() {
    models_ = {ModelOf("ddl", "ddl_cc"), ModelOf("twin", "additive")};
    server_.service.list_models = [this](grpc::ServerContext&, const v1::ListModelsRequest&,
                                         v1::ListModelsResponse& response) {
      MutexLock lock(&mutex_);
      for (const v1::Model& model : models_) *response.add_models() = model;
      return grpc::Status::OK;
    };
    server_.service.generate = [this](grpc::ServerContext& context,
                                      const v1::GenerateRequest& request,
                                      v1::GenerateResponse& response) {
      return IsWarmUp(request) ? WarmUp(request, response) : Answer(context, request, response);
    };
  }

  void TearDown() override { server_.Shutdown(); }

  static bool IsWarmUp(const v1::GenerateRequest& request) {
    return request.token_ids().ids_size() == 1 && request.max_tokens() == 2;
  }

  virtual grpc::Status WarmUp(const v1::GenerateRequest& request, v1::GenerateResponse& response) {
    MutexLock lock(&mutex_);
    ++rounds_[request.model()];
    response.mutable_usage()->set_completion_tokens(2);
    return grpc::Status::OK;
  }

  // Returns once `batch_` calls are under way, in the first ones' case.
  virtual grpc::Status Answer(grpc::ServerContext&, const v1::GenerateRequest& request,
                              v1::GenerateResponse& response) {
    MutexLock lock(&mutex_);
    ++answered_;
    changed_.NotifyAll();
    changed_.Wait(&mutex_, [this] { return answered_ >= batch_; });
    prompts_.insert(absl::StrJoin(request.token_ids().ids(), ","));
    FillUsage(request, response);
    return grpc::Status::OK;
  }

  void FillUsage(const v1::GenerateRequest& request, v1::GenerateResponse& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int round = rounds_[request.model()] - 1;
    const double factor = factors_.empty() ? 1 : factors_[round % factors_.size()];
    const double second = factor * (request.model() == "ddl" ? 2 : 1) / static_cast<double>(batch_);
    v1::Usage& usage = *response.mutable_usage();
    usage.set_prompt_tokens(request.token_ids().ids_size());
    usage.set_cached_prompt_tokens(cached_);
    usage.set_completion_tokens(request.max_tokens());
    usage.mutable_prefill()->set_device_seconds(second * (usage.prompt_tokens() - cached_));
    usage.mutable_decode()->set_device_seconds(3 * second * (usage.completion_tokens() - 1));
    if (!has_price_) return;
    for (v1::PhaseUsage* phase : {usage.mutable_prefill(), usage.mutable_decode()}) {
      phase->set_cost_usd(phase->device_seconds());
    }
  }

  void SetContext(int64_t tokens) {
    MutexLock lock(&mutex_);
    models_[1].set_max_sequence_tokens(tokens);
  }

  absl::StatusOr<CostReport> Measure(const CostLoad& load,
                                     const std::vector<std::string>& names = {},
                                     const CallOptions& options = {}) {
    return MeasureCosts(Client::Connect(server_.address()), names, load, options,
                        [this](const std::string& step) { steps_.push_back(step); });
  }

  FakeServer server_;
  std::vector<double> factors_;  // of the rounds
  int64_t cached_ = 0;
  bool has_price_ = true;
  int64_t batch_ = 1;
  std::vector<std::string> steps_;

  Mutex mutex_;
  CondVar changed_;
  std::vector<v1::Model> models_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> rounds_ ABSL_GUARDED_BY(mutex_);
  int64_t answered_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<std::string> prompts_ ABSL_GUARDED_BY(mutex_);
};

CostLoad Load(std::vector<int64_t> batches, int64_t rounds = 1) {
  CostLoad load;
  load.batches = std::move(batches);
  load.prompt_tokens = 10;
  load.completion_tokens = 5;
  load.rounds = rounds;
  return load;
}

TEST_F(CostMeasurementTest, WhatPhasesCostOverWhatTheyMade) {
  cached_ = 4;
  {
    MutexLock lock(&mutex_);
    for (v1::Model& model : models_) model.set_usd_per_device_hour(3600);
  }
  const absl::StatusOr<CostReport> report = Measure(Load({1}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->has_usd);
  EXPECT_THAT(report->usd_per_device_hour, Optional(3600));
  EXPECT_EQ(report->load.prompt_tokens, 10);
  EXPECT_EQ(report->load.completion_tokens, 5);
  ASSERT_EQ(report->models.size(), 2u);
  const ModelCost& ddl = report->models[0];
  EXPECT_EQ(ddl.model.name(), "ddl");
  EXPECT_EQ(ddl.additive, "twin");
  ASSERT_EQ(ddl.batches.size(), 1u);
  EXPECT_NEAR(ddl.batches[0].prompt.device_seconds, 2e6, 1e-3);
  EXPECT_THAT(ddl.batches[0].prompt.usd, Optional(DoubleNear(2e6, 1e-3)));
  EXPECT_THAT(ddl.batches[0].prompt.of_additive, Optional(DoubleNear(2, 1e-9)));
  EXPECT_NEAR(ddl.batches[0].completion.device_seconds, 6e6, 1e-3);
  EXPECT_THAT(ddl.batches[0].completion.of_additive, Optional(DoubleNear(2, 1e-9)));
  const ModelCost& twin = report->models[1];
  EXPECT_EQ(twin.additive, "");
  EXPECT_NEAR(twin.batches[0].prompt.device_seconds, 1e6, 1e-3);
  EXPECT_EQ(twin.batches[0].prompt.of_additive, std::nullopt);
  EXPECT_THAT(steps_, ElementsAre("round 1 of 1, batch 1, ddl", "round 1 of 1, batch 1, twin"));
}

// Each call of a batch waits for the others: this would not end if there were fewer.
TEST_F(CostMeasurementTest, SoManyRequestsAreUnderWayAtOnce) {
  batch_ = 8;
  const absl::StatusOr<CostReport> report = Measure(Load({8}), {"ddl"});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NEAR(report->models[0].batches[0].prompt.device_seconds, 2e6 / 8, 1e-3);
  EXPECT_NEAR(report->models[0].batches[0].completion.device_seconds, 6e6 / 8, 1e-3);
  MutexLock lock(&mutex_);
  EXPECT_GE(answered_, 8);
  EXPECT_EQ(static_cast<int64_t>(prompts_.size()), answered_);  // no two are the same
}

class FullBatchTest : public CostMeasurementTest {
 protected:
  // The first call lasts until there is a second one, so that these are the two callers' first; the
  // second until a third one shows that the first caller goes on.
  grpc::Status Answer(grpc::ServerContext& context, const v1::GenerateRequest& request,
                      v1::GenerateResponse& response) override {
    MutexLock lock(&mutex_);
    const int64_t number = ++answered_;
    changed_.NotifyAll();
    if (number <= 2) changed_.Wait(&mutex_, [this, number] { return answered_ > number; });
    FillUsage(request, response);
    // What does not count may cost what it likes.
    if (number >= 3) response.mutable_usage()->mutable_prefill()->set_device_seconds(1e9);
    return context.IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
  }
};

TEST_F(FullBatchTest, WhoHasEndedGoesOnUncounted) {
  const absl::StatusOr<CostReport> report = Measure(Load({2}), {"ddl"});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NEAR(report->models[0].batches[0].prompt.device_seconds, 2e6, 1e-3);
}

TEST_F(CostMeasurementTest, MediansOfRoundsAndOfTheirRatios) {
  factors_ = {1, 100, 3};
  const absl::StatusOr<CostReport> report = Measure(Load({1}, 3));
  ASSERT_TRUE(report.ok()) << report.status();
  const TokenCost& cost = report->models[0].batches[0].prompt;
  EXPECT_NEAR(cost.device_seconds, 6e6, 1e-3);
  EXPECT_THAT(cost.of_additive, Optional(DoubleNear(2, 1e-9)));
}

TEST_F(CostMeasurementTest, WithoutAPriceThereAreSeconds) {
  has_price_ = false;
  const absl::StatusOr<CostReport> report = Measure(Load({1}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->has_usd);
  EXPECT_EQ(report->usd_per_device_hour, std::nullopt);
  EXPECT_EQ(report->models[0].batches[0].prompt.usd, std::nullopt);
  EXPECT_THAT(report->models[0].batches[0].prompt.of_additive, Optional(DoubleNear(2, 1e-9)));
}

TEST_F(CostMeasurementTest, OnlyAModelOfTheSameShapeIsATwin) {
  {
    MutexLock lock(&mutex_);
    models_[1].set_num_layers(3);
  }
  const absl::StatusOr<CostReport> report = Measure(Load({1}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->models[0].additive, "");
  EXPECT_EQ(report->models[0].batches[0].prompt.of_additive, std::nullopt);
}

TEST_F(CostMeasurementTest, WhatIsNotSaidIsWhatFits) {
  CostLoad load;
  load.batches = {1};
  load.rounds = 1;
  SetContext(60);
  const absl::StatusOr<CostReport> report = Measure(load);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->load.prompt_tokens, 40);
  EXPECT_EQ(report->load.completion_tokens, 20);
  SetContext(256);
  EXPECT_EQ(Measure(load)->load.prompt_tokens, 128);
  EXPECT_EQ(Measure(load)->load.completion_tokens, 64);
}

TEST_F(CostMeasurementTest, WhatCannotBeMeasuredIsSaidBeforeAnyCall) {
  const absl::Status unknown = Measure(Load({1}), {"ddl", "gone"}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(unknown.message(), "model gone is not served; there are ddl, twin");

  CostLoad load = Load({1});
  load.prompt_tokens = 300;
  const absl::Status too_long = Measure(load).status();
  EXPECT_EQ(too_long.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_long.message()), AllOf(HasSubstr("300"), HasSubstr("256")));

  {
    MutexLock lock(&mutex_);
    models_.clear();
  }
  EXPECT_EQ(Measure(Load({1})).status().code(), absl::StatusCode::kFailedPrecondition);
  MutexLock lock(&mutex_);
  EXPECT_EQ(answered_, 0);
}

class FailingTest : public CostMeasurementTest {
 protected:
  // One of a batch fails, the others last until they are cancelled.
  grpc::Status Answer(grpc::ServerContext& context, const v1::GenerateRequest& request,
                      v1::GenerateResponse& response) override {
    {
      MutexLock lock(&mutex_);
      changed_.NotifyAll();
      if (++answered_ == batch_) {
        if (!ends_early_) return grpc::Status(grpc::RESOURCE_EXHAUSTED, "the queue is full");
        FillUsage(request, response);
        response.mutable_usage()->set_completion_tokens(3);
        response.add_samples()->set_finish_reason(v1::BUDGET);
        return grpc::Status::OK;
      }
    }
    return AwaitCancellation(context);
  }

  bool ends_early_ = false;
};

TEST_F(FailingTest, TheFirstFailureEndsAllAndSaysWhere) {
  batch_ = 4;
  const absl::Status status = Measure(Load({4})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "ddl at batch 4: the queue is full");
}

TEST_F(FailingTest, ARequestThatEndsEarlyIsNotMeasured) {
  batch_ = 4;
  ends_early_ = true;
  const absl::Status status = Measure(Load({4})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "ddl at batch 4: a request ended with BUDGET after 3 of 5 tokens");
}

TEST_F(FailingTest, AnInterruptEndsAll) {
  batch_ = 100;  // nobody fails
  std::stop_source interrupt;
  const std::jthread presses([&] {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_, [this] { return answered_ >= 4; });
    interrupt.request_stop();
  });
  EXPECT_EQ(Measure(Load({4}), {}, {.cancellation = interrupt.get_token()}).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace deltaserve::cli
