#include "server/engine/engine_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace deltaserve {

EngineLoop::EngineLoop(std::vector<std::unique_ptr<ModelLane>> lanes, const Clock& clock,
                       StepObserver& observer, int64_t max_queued)
    : lanes_(std::move(lanes)),
      clock_(clock),
      observer_(observer),
      max_queued_(max_queued),
      counts_(lanes_.size()) {}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EngineLoop::Drain() {
  MutexLock lock(&mutex_);
  draining_ = true;
}

bool EngineLoop::WaitUntilIdle(absl::Duration limit) {
  MutexLock lock(&mutex_);
  return idle_.WaitFor(&mutex_, limit,
                       [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Idle(); });
}

bool EngineLoop::Idle() const {
  return std::all_of(counts_.begin(), counts_.end(), [](const Counts& counts) {
    return counts.submitted == 0 && counts.accepted == 0;
  });
}

void EngineLoop::Stop() {
  {
    MutexLock lock(&mutex_);
    draining_ = true;
    stopping_ = true;
    woken_.NotifyAll();
  }
  if (thread_.joinable()) {
    thread_.join();
  } else {
    EndAll();  // it was never started
  }
}

SteadyNs EngineLoop::StalledFor() const {
  MutexLock lock(&mutex_);
  return working_since_ == 0 ? 0 : clock_.Now() - working_since_;
}

int64_t EngineLoop::num_requests() const {
  MutexLock lock(&mutex_);
  int64_t sum = 0;
  for (const Counts& counts : counts_) sum += counts.submitted + counts.accepted;
  return sum;
}

absl::Status EngineLoop::status() const {
  MutexLock lock(&mutex_);
  return status_;
}

ModelLane* EngineLoop::FindLane(const std::string& model) const {
  for (const auto& lane : lanes_) {
    if (lane->info().name == model) return lane.get();
  }
  return nullptr;
}

template <typename Request>
absl::Status EngineLoop::SubmitTo(Request request, std::shared_ptr<TokenSink> sink) {
  ModelLane* lane = FindLane(request.model);
  if (lane == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("no model \"", request.model, "\"; served are ",
                     absl::StrJoin(lanes_, ", ", [](std::string* out, const auto& served) {
                       out->append(served->info().name);
                     })));
  }
  if (absl::Status fits = lane->CheckFits(request); !fits.ok()) return fits;
  const SteadyNs now = clock_.Now();
  const size_t index = std::find_if(lanes_.begin(), lanes_.end(),
                                    [&](const auto& held) { return held.get() == lane; }) -
                       lanes_.begin();
  MutexLock lock(&mutex_);
  if (!status_.ok()) return status_;
  if (draining_) return absl::UnavailableError("the server is shutting down");
  Counts& counts = counts_[index];
  if (counts.submitted + counts.unstarted >= max_queued_) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue of model \"", request.model,
                                                     "\" is full: ", max_queued_,
                                                     " requests are waiting"));
  }
  ++counts.submitted;
  if (working_since_ == 0) working_since_ = now;
  commands_.push_back([lane, now, request = std::move(request), sink = std::move(sink)]() mutable {
    lane->Accept(std::move(request), std::move(sink), now);
  });
  woken_.NotifyAll();
  return absl::OkStatus();
}

absl::Status EngineLoop::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitTo(std::move(request), std::move(sink));
}

absl::Status EngineLoop::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitTo(std::move(request), std::move(sink));
}

void EngineLoop::Post(Command command) {
  MutexLock lock(&mutex_);
  commands_.push_back(std::move(command));
  woken_.NotifyAll();
}

void EngineLoop::Cancel(RequestId id) {
  Post([this, id] {
    for (const auto& lane : lanes_) lane->Cancel(id, clock_.Now());
  });
}

void EngineLoop::EndForBudget(RequestId id) {
  Post([this, id] {
    for (const auto& lane : lanes_) lane->EndForBudget(id, clock_.Now());
  });
}

void EngineLoop::StopSample(RequestId id, int32_t sample) {
  Post([this, id, sample] {
    for (const auto& lane : lanes_) lane->StopSample(id, sample, clock_.Now());
  });
}

bool EngineLoop::TakeCommands(bool idle, std::vector<Command>& commands) {
  const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !commands_.empty() || stopping_;
  };
  MutexLock lock(&mutex_);
  if (idle) woken_.Wait(&mutex_, woken);
  commands.swap(commands_);
  for (Counts& counts : counts_) {
    counts.accepted += counts.submitted;
    counts.unstarted += counts.submitted;
    counts.submitted = 0;
  }
  return !stopping_;
}

void EngineLoop::Run() {
  std::vector<Command> commands;
  bool idle = true;
  while (TakeCommands(idle, commands)) {
    for (const Command& command : commands) command();
    commands.clear();
    for (const auto& lane : lanes_) lane->Expire(clock_.Now());
    idle = !RunNextStep();
    Publish();
  }
  for (const Command& command : commands) command();
  EndAll();
}

void EngineLoop::EndAll() {
  // What was submitted before the end is told of it, too.
  std::vector<Command> commands;
  TakeCommands(/*idle=*/false, commands);
  for (const Command& command : commands) command();
  for (const auto& lane : lanes_) {
    lane->EndAll(absl::UnavailableError("the server is shutting down"), clock_.Now());
  }
  Publish();
}

bool EngineLoop::RunNextStep() {
  // Requests that came in while the device was failing.
  if (const absl::Status lost = status(); !lost.ok()) {
    for (const auto& lane : lanes_) lane->EndAll(lost, clock_.Now());
    return false;
  }
  for (size_t tried = 0; tried < lanes_.size(); ++tried) {
    ModelLane& lane = *lanes_[next_lane_];
    next_lane_ = (next_lane_ + 1) % lanes_.size();
    if (lane.num_requests() == 0) continue;
    const absl::StatusOr<bool> ran = lane.RunStep(clock_, observer_);
    if (!ran.ok()) {
      Fail(ran.status());
      return false;
    }
    if (*ran) return true;
  }
  return false;
}

void EngineLoop::Fail(const absl::Status& status) {
  const absl::Status lost =
      absl::UnavailableError(absl::StrCat("the device is lost: ", std::string(status.message())));
  {
    MutexLock lock(&mutex_);
    status_ = lost;
  }
  for (const auto& lane : lanes_) lane->EndAll(lost, clock_.Now());
}

void EngineLoop::Publish() {
  for (const auto& lane : lanes_) observer_.OnLoad(lane->load());
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    counts_[i].accepted = lanes_[i]->num_requests();
    counts_[i].unstarted = lanes_[i]->num_unstarted();
  }
  const bool idle = Idle();
  working_since_ = idle ? 0 : clock_.Now();
  if (idle) idle_.NotifyAll();
}

}  // namespace deltaserve
