#include "server/service/token_mailbox.h"

#include <utility>

namespace deltaserve {

TokenMailbox::TokenMailbox(std::shared_ptr<Reader> reader, TextExecutor* executor,
                           const Clock* clock)
    : executor_(executor), clock_(clock), reader_(std::move(reader)) {}

void TokenMailbox::OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) {
  const SteadyNs now = clock_->Now();
  MutexLock lock(&mutex_);
  mail_.events.push_back(
      {.sample = sample, .at = now, .num_tokens = static_cast<int64_t>(tokens.size()), .done = {}});
  mail_.tokens.insert(mail_.tokens.end(), tokens.begin(), tokens.end());
  ScheduleLocked();
}

void TokenMailbox::OnSampleDone(int32_t sample, FinishReason reason) {
  const SteadyNs now = clock_->Now();
  MutexLock lock(&mutex_);
  mail_.events.push_back({.sample = sample, .at = now, .num_tokens = 0, .done = reason});
  ScheduleLocked();
}

void TokenMailbox::OnDone(RequestOutcome outcome) {
  MutexLock lock(&mutex_);
  mail_.outcome = std::move(outcome);
  ScheduleLocked();
}

void TokenMailbox::Wake() {
  MutexLock lock(&mutex_);
  ScheduleLocked();
}

void TokenMailbox::Close() {
  std::shared_ptr<Reader> reader;  // destroyed outside the lock
  MutexLock lock(&mutex_);
  reader = std::move(reader_);
}

void TokenMailbox::ScheduleLocked() {
  if (scheduled_) {
    again_ = true;
    return;
  }
  scheduled_ = true;
  executor_->Schedule(shared_from_this());
}

void TokenMailbox::RunOnTextThread() {
  Mail mail;
  std::shared_ptr<Reader> reader;
  {
    MutexLock lock(&mutex_);
    again_ = false;
    mail = std::exchange(mail_, {});
    reader = reader_;
  }
  if (reader != nullptr) reader->OnMail(std::move(mail));

  MutexLock lock(&mutex_);
  scheduled_ = false;
  // Through the queue again, so that a busy stream does not keep the others waiting.
  if (again_) ScheduleLocked();
}

}  // namespace deltaserve
