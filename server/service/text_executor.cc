#include "server/service/text_executor.h"

#include <utility>

namespace deltaserve {

TextExecutor::TextExecutor(int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back(&TextExecutor::Run, this);
}

TextExecutor::~TextExecutor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void TextExecutor::Schedule(std::shared_ptr<Task> task) {
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(task));
}

void TextExecutor::Run() {
  while (true) {
    std::shared_ptr<Task> task;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(this, &TextExecutor::HasWork));
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task->RunOnTextThread();
  }
}

}  // namespace deltaserve
