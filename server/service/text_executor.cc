#include "server/service/text_executor.h"

#include <utility>

namespace deltaserve {

TextExecutor::TextExecutor(int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back(&TextExecutor::Run, this);
}

TextExecutor::~TextExecutor() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void TextExecutor::Schedule(std::shared_ptr<Task> task) {
  MutexLock lock(&mutex_);
  queue_.push_back(std::move(task));
  woken_.NotifyOne();
}

void TextExecutor::Run() {
  while (true) {
    std::shared_ptr<Task> task;
    {
      MutexLock lock(&mutex_);
      woken_.Wait(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !queue_.empty();
      });
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task->RunOnTextThread();
  }
}

}  // namespace deltaserve
