#include "server/service/token_mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "server/api/mutex.h"

namespace deltaserve {
namespace {

class Collector final : public TokenMailbox::Reader {
 public:
  void OnMail(Mail mail) override {
    EXPECT_EQ(readers_.fetch_add(1), 0) << "two threads read at once";
    int64_t announced = 0;
    for (const Mail::Event& event : mail.events) announced += event.num_tokens;
    EXPECT_EQ(announced, static_cast<int64_t>(mail.tokens.size()));
    for (const SampledToken& token : mail.tokens) ids.push_back(token.id);
    ++calls;
    readers_.fetch_sub(1);
    if (mail.outcome.has_value()) {
      MutexLock lock(&mutex_);
      done_ = true;
      ended_.NotifyAll();
    }
  }
  void AwaitDone() {
    MutexLock lock(&mutex_);
    ended_.Wait(&mutex_, [this] { return done_; });
  }

  std::vector<int32_t> ids;
  int calls = 0;

 private:
  std::atomic<int> readers_ = 0;
  Mutex mutex_;
  CondVar ended_;
  bool done_ = false;
};

TEST(TokenMailboxTest, BringsAllTokensInOrderWithManyTextThreads) {
  SteadyClock clock;
  TextExecutor executor(/*num_threads=*/3);
  auto reader = std::make_shared<Collector>();
  auto mailbox = std::make_shared<TokenMailbox>(reader, &executor, &clock);
  std::vector<int32_t> sent;
  for (int32_t id = 0; id < 2000; ++id) {
    mailbox->OnTokens(0, {{.id = id, .top = {}}});
    sent.push_back(id);
  }
  mailbox->OnSampleDone(0, FinishReason::kLength);
  mailbox->OnDone({});
  reader->AwaitDone();
  EXPECT_EQ(reader->ids, sent);
}

TEST(TokenMailboxTest, OwnsTheReaderUntilClosed) {
  SteadyClock clock;
  TextExecutor executor;
  auto reader = std::make_shared<Collector>();
  std::weak_ptr<Collector> watch = reader;
  auto mailbox = std::make_shared<TokenMailbox>(std::move(reader), &executor, &clock);
  EXPECT_FALSE(watch.expired());
  mailbox->Close();
  EXPECT_TRUE(watch.expired());
  mailbox->OnTokens(0, {{.id = 1, .top = {}}});  // dropped
  mailbox->OnDone({});
}

TEST(TextExecutorTest, RunsWhatWasScheduledBeforeItGoes) {
  struct Count final : TextExecutor::Task {
    explicit Count(std::atomic<int>* ran) : ran(ran) {}
    void RunOnTextThread() override { ran->fetch_add(1); }
    std::atomic<int>* ran;
  };
  std::atomic<int> ran = 0;
  {
    TextExecutor executor;
    for (int i = 0; i < 100; ++i) executor.Schedule(std::make_shared<Count>(&ran));
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace deltaserve
