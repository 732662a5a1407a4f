#include "tests/support/test_engine.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace deltaserve {

std::vector<int32_t> RecordingSink::Sample::ids() const {
  std::vector<int32_t> ids;
  for (const SampledToken& token : tokens) ids.push_back(token.id);
  return ids;
}

std::vector<float> RecordingSink::Sample::logprobs() const {
  std::vector<float> logprobs;
  for (const SampledToken& token : tokens) logprobs.push_back(token.logprob);
  return logprobs;
}

void RecordingSink::OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) {
  int64_t num_tokens = 0;
  {
    MutexLock lock(&mutex_);
    Sample& recorded = samples_[sample];
    if (done_) violation_ = "tokens after the end";
    if (recorded.finish) violation_ = absl::StrCat("tokens after the end of sample ", sample);
    recorded.tokens.insert(recorded.tokens.end(), tokens.begin(), tokens.end());
    num_tokens = static_cast<int64_t>(recorded.tokens.size());
  }
  if (hook_) hook_(sample, num_tokens);
}

void RecordingSink::OnSampleDone(int32_t sample, FinishReason reason) {
  MutexLock lock(&mutex_);
  Sample& recorded = samples_[sample];
  if (done_) violation_ = "a sample ends after the end";
  if (recorded.finish) violation_ = absl::StrCat("sample ", sample, " ends twice");
  recorded.finish = reason;
}

void RecordingSink::OnDone(RequestOutcome outcome) {
  MutexLock lock(&mutex_);
  if (done_) violation_ = "two ends";
  for (const auto& [index, sample] : samples_) {
    if (outcome.status.ok() && !sample.finish) {
      violation_ = absl::StrCat("OK, but sample ", index, " has not ended");
    }
  }
  outcome_ = std::move(outcome);
  done_ = true;
  ended_.NotifyAll();
}

void RecordingSink::Await() {
  ended_.Wait(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return done_; });
}

RecordingSink::Sample RecordingSink::sample(int32_t index) {
  MutexLock lock(&mutex_);
  Await();
  return samples_[index];
}

absl::Status RecordingSink::status() {
  MutexLock lock(&mutex_);
  Await();
  return outcome_.status;
}

Usage RecordingSink::usage() {
  MutexLock lock(&mutex_);
  Await();
  return outcome_.usage;
}

const ScoreResult& RecordingSink::score() {
  MutexLock lock(&mutex_);
  Await();
  return *outcome_.score;
}

bool RecordingSink::done() const {
  MutexLock lock(&mutex_);
  return done_;
}

std::string RecordingSink::violation() const {
  MutexLock lock(&mutex_);
  return violation_;
}

void RecordingStepObserver::OnStepBegin(std::string_view model, SteadyNs begin) {
  {
    MutexLock lock(&mutex_);
    begun_.push_back({std::string(model), begin});
  }
  for (StepObserver* more : more_) more->OnStepBegin(model, begin);
}

void RecordingStepObserver::OnStep(const StepStats& step) {
  {
    MutexLock lock(&mutex_);
    Step& kept = steps_.emplace_back();
    kept.model = std::string(step.model);
    kept.stats = step;
    kept.stats.model = {};
    kept.stats.work = {};
    kept.stats.gates = {};
    kept.work.assign(step.work.begin(), step.work.end());
    kept.beta.assign(step.gates.beta.begin(), step.gates.beta.end());
  }
  for (StepObserver* more : more_) more->OnStep(step);
}

void RecordingStepObserver::OnLoad(const ModelLoad& load) {
  {
    MutexLock lock(&mutex_);
    loads_[std::string(load.model)] = load;
  }
  for (StepObserver* more : more_) more->OnLoad(load);
}

std::vector<std::pair<std::string, SteadyNs>> RecordingStepObserver::begun() const {
  MutexLock lock(&mutex_);
  return begun_;
}

std::vector<RecordingStepObserver::Step> RecordingStepObserver::steps() const {
  MutexLock lock(&mutex_);
  return steps_;
}

int64_t RecordingStepObserver::num_preemptions() const {
  MutexLock lock(&mutex_);
  int64_t sum = 0;
  for (const Step& step : steps_) sum += step.stats.preemptions;
  return sum;
}

ModelLoad RecordingStepObserver::load(const std::string& model) const {
  MutexLock lock(&mutex_);
  const auto found = loads_.find(model);
  return found == loads_.end() ? ModelLoad() : found->second;
}

TestEngine::TestEngine(std::unique_ptr<Backend> backend, absl::Span<const LaneOptions> models,
                       int64_t max_queued)
    : backend_(std::move(backend)) {
  std::vector<std::unique_ptr<ModelLane>> lanes;
  for (const LaneOptions& model : models) {
    auto lane = ModelLane::Load(*backend_, model);
    MustBeOk(lane.status());
    infos_.push_back((*lane)->info());
    costs_.push_back((*lane)->costs());
    lanes.push_back(*std::move(lane));
  }
  loop_ = std::make_unique<EngineLoop>(std::move(lanes), clock_, observer_, max_queued);
}

void TestEngine::Finish() {
  if (!std::exchange(started_, true)) loop_->Start();
  loop_->WaitUntilIdle(absl::InfiniteDuration());
}

bool TestEngine::everything_free() const {
  for (const ModelInfo& info : infos_) {
    const ModelLoad load = observer_.load(info.name);
    if (load.pages_used != 0 || load.slots_used != 0) return false;
    if (load.requests_running != 0 || load.requests_waiting != 0) return false;
  }
  return true;
}

void TestEngine::MustBeOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

LaneOptions GoldenLane(const std::string& fixture) {
  LaneOptions lane;
  lane.name = fixture;
  lane.model_dir = std::filesystem::path(DELTASERVE_SOURCE_DIR) / "tests/golden" / fixture;
  lane.dtype = DType::kF32;
  lane.max_batch_tokens = 64;
  lane.max_sequences = 16;
  lane.kv_cache_tokens = 16 * 128;
  return lane;
}

GenerateRequest GreedyRequest(std::vector<int32_t> prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_eos = true;
  return request;
}

GenerateRequest SampledRequest(std::vector<int32_t> prompt, int64_t max_tokens, uint64_t seed) {
  GenerateRequest request = GreedyRequest(std::move(prompt), max_tokens);
  request.sampling.temperature = 1;
  request.sampling.seed = seed;
  return request;
}

ScoreRequest SequenceRequest(std::vector<int32_t> sequence) {
  ScoreRequest request;
  request.context = std::move(sequence);
  return request;
}

}  // namespace deltaserve
