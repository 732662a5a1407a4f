#include "tests/promises/served_engine.h"

#include <grpcpp/create_channel.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/null_sink.h>

#include <stdexcept>
#include <string>

namespace deltaserve {
namespace {

std::vector<std::string> NamesOf(const std::vector<LaneOptions>& lanes) {
  std::vector<std::string> names;
  for (const LaneOptions& lane : lanes) names.push_back(lane.name);
  return names;
}

}  // namespace

absl::Status WatchedQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return Noted(next().Submit(std::move(request), std::move(sink)));
}

absl::Status WatchedQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return Noted(next().Submit(std::move(request), std::move(sink)));
}

absl::Status WatchedQueue::Noted(absl::Status status) {
  MutexLock lock(&mutex_);
  if (status.ok()) ++submitted_;
  changed_.NotifyAll();
  return status;
}

void WatchedQueue::Cancel(RequestId id) {
  next().Cancel(id);
  MutexLock lock(&mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

void WatchedQueue::AwaitSubmitted(int64_t count) {
  MutexLock lock(&mutex_);
  changed_.Wait(&mutex_,
                [this, count]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return submitted_ >= count; });
}

void WatchedQueue::AwaitCancel() {
  MutexLock lock(&mutex_);
  changed_.Wait(&mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return cancelled_; });
}

ServedEngine::ServedEngine(std::unique_ptr<Backend> backend, int64_t max_queued,
                           std::vector<LaneOptions> lanes, SteadyNs step_ns)
    : meter_({.per_device_hour = 1'000'000'000, .per_kwh = std::nullopt}, energy_,
             ManualClock::kStart),
      engine_(std::move(backend), lanes, max_queued),
      ticker_(engine_.clock(), step_ns),
      metered_queue_(engine_.loop(), meter_),
      queue_(metered_queue_),
      metrics_(NamesOf(lanes)),
      observer_(metrics_) {
  std::vector<ServedModel> served;
  for (size_t i = 0; i < lanes.size(); ++i) {
    served.push_back({engine_.info(i), nullptr, &queue_});
    meter_.AddModel(lanes[i].name, CostModel(engine_.costs(i), {1e10, 1e11}));
  }
  models_ = std::make_unique<ModelRegistry>(std::move(served));
  meter_.EndOverhead(engine_.clock().Now());
  engine_.observer().TellAlso(&meter_);
  engine_.observer().TellAlso(&ticker_);
  engine_.Finish();
  auto log =
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start("127.0.0.1:0",
                                                                         {.models = models_.get(),
                                                                          .clock = &engine_.clock(),
                                                                          .observer = &observer_,
                                                                          .log = std::move(log),
                                                                          .tenants = &tenants_},
                                                                         {});
  if (!server.ok()) throw std::runtime_error(server.status().ToString());
  server_ = *std::move(server);
  stub_ = v1::InferenceService::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
}

double ServedEngine::Count(const std::string& counter, const std::string& outcome) const {
  double sum = 0;
  for (const prometheus::MetricFamily& family : metrics_.registry()->Collect()) {
    if (family.name != counter) continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      bool counts = outcome.empty();
      for (const auto& label : metric.label) {
        counts |= label.name == "outcome" && label.value == outcome;
      }
      if (counts) sum += metric.counter.value;
    }
  }
  return sum;
}

v1::GenerateRequest GenerateCall(int32_t max_tokens) {
  v1::GenerateRequest request;
  for (const int32_t id : {1, 2, 3}) request.mutable_token_ids()->add_ids(id);
  request.set_max_tokens(max_tokens);
  request.set_temperature(0);
  request.set_ignore_eos(true);
  return request;
}

}  // namespace deltaserve
