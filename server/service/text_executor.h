#ifndef DELTASERVE_SERVER_SERVICE_TEXT_EXECUTOR_H_
#define DELTASERVE_SERVER_SERVICE_TEXT_EXECUTOR_H_

#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/api/mutex.h"

namespace deltaserve {

// The threads that turn tokens into text and text into messages, so that the engine thread need
// not. Tasks run in the order in which they were scheduled. Thread-safe.
class TextExecutor {
 public:
  class Task {
   public:
    virtual ~Task() = default;
    virtual void RunOnTextThread() = 0;
  };

  explicit TextExecutor(int num_threads = 1);
  // Runs what was scheduled. Nothing may be scheduled any more.
  ~TextExecutor();

  TextExecutor(const TextExecutor&) = delete;
  TextExecutor& operator=(const TextExecutor&) = delete;

  // Never blocks on a task. A task that schedules itself once at a time (TokenMailbox does) bounds
  // the queue by the number of calls there are.
  void Schedule(std::shared_ptr<Task> task);

 private:
  void Run();

  Mutex mutex_;
  CondVar woken_;  // by work, or stopping
  std::deque<std::shared_ptr<Task>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_TEXT_EXECUTOR_H_
