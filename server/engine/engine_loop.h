// The thread that owns a device. It runs all of the device's models, one step at a time.
#ifndef DELTASERVE_SERVER_ENGINE_ENGINE_LOOP_H_
#define DELTASERVE_SERVER_ENGINE_ENGINE_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/api/clock.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"
#include "server/api/request_queue.h"
#include "server/engine/model_lane.h"

namespace deltaserve {

// Thread-safe. What it is given must outlive it.
class EngineLoop final : public RequestQueue {
 public:
  // `max_queued`: requests of one model that may wait to be started; more are refused.
  EngineLoop(std::vector<std::unique_ptr<ModelLane>> lanes, const Clock& clock,
             StepObserver& observer, int64_t max_queued);
  ~EngineLoop() override;  // stops

  void Start();
  // From now on new requests get UNAVAILABLE; those accepted go on.
  void Drain();
  // False if requests are left after `limit`.
  bool WaitUntilIdle(absl::Duration limit);
  // Ends what is left with UNAVAILABLE, and the thread.
  void Stop();

  // How long there has been work and no step has finished; 0 while idle. For a watchdog.
  SteadyNs StalledFor() const;
  // That have been accepted and have not ended.
  int64_t num_requests() const;
  // Not OK: the device is lost, and with it everything that was running. Terminal.
  absl::Status status() const;

  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(RequestId id) override;
  void EndForBudget(RequestId id) override;
  void StopSample(RequestId id, int32_t sample) override;

 private:
  using Command = std::function<void()>;  // run on the engine thread

  template <typename Request>
  absl::Status SubmitTo(Request request, std::shared_ptr<TokenSink> sink);
  void Post(Command command);
  ModelLane* FindLane(const std::string& model) const;

  void Run();
  // Waits for commands if `idle`. False: stop.
  bool TakeCommands(bool idle, std::vector<Command>& commands);
  // One step of the next model that has one. False: none has.
  bool RunNextStep();
  void Fail(const absl::Status& status);
  void EndAll();
  void Publish();
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<std::unique_ptr<ModelLane>> lanes_;
  const Clock& clock_;
  StepObserver& observer_;
  const int64_t max_queued_;
  std::thread thread_;
  size_t next_lane_ = 0;  // engine thread only

  mutable Mutex mutex_;
  CondVar woken_;  // commands, or stopping
  CondVar idle_;
  std::vector<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  // By lane. Submitted ones are among the commands; the others are as of the last step.
  struct Counts {
    int64_t submitted = 0;
    int64_t accepted = 0;   // and not ended
    int64_t unstarted = 0;  // of these, waiting for their first step
  };
  std::vector<Counts> counts_ ABSL_GUARDED_BY(mutex_);
  SteadyNs working_since_ ABSL_GUARDED_BY(mutex_) = 0;  // last progress; 0: idle
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_ENGINE_LOOP_H_
