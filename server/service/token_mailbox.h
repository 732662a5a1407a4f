#ifndef DELTASERVE_SERVER_SERVICE_TOKEN_MAILBOX_H_
#define DELTASERVE_SERVER_SERVICE_TOKEN_MAILBOX_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "server/api/clock.h"
#include "server/api/mutex.h"
#include "server/api/token_sink.h"
#include "server/service/text_executor.h"

namespace deltaserve {

// What the engine sent since the reader last looked, in order.
struct Mail {
  struct Event {
    int32_t sample = 0;
    SteadyNs at = 0;
    int64_t num_tokens = 0;            // the next ones of `tokens`
    std::optional<FinishReason> done;  // the sample ended, after those tokens
  };
  std::vector<Event> events;
  std::vector<SampledToken> tokens;
  std::optional<RequestOutcome> outcome;

  bool empty() const { return events.empty() && !outcome.has_value(); }
};

// A request's sink: the engine thread drops its tokens here and leaves, a text thread brings them
// to the reader.
//
// The mailbox owns the reader until Close(), and a reader may own its mailbox: a call keeps itself
// alive in this way until gRPC has done with it.
class TokenMailbox final : public TokenSink,
                           public TextExecutor::Task,
                           public std::enable_shared_from_this<TokenMailbox> {
 public:
  class Reader {
   public:
    virtual ~Reader() = default;
    // On a text thread, one call at a time. `mail` may be empty: see Wake.
    virtual void OnMail(Mail mail) = 0;
  };

  // `executor` and `clock` outlive the mailbox.
  TokenMailbox(std::shared_ptr<Reader> reader, TextExecutor* executor, const Clock* clock);

  void OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) override;
  void OnSampleDone(int32_t sample, FinishReason reason) override;
  void OnDone(RequestOutcome outcome) override;

  // Has OnMail called on a text thread, also when there is no mail. Any thread.
  void Wake();

  // Lets go of the reader, which may thereby be destroyed; what still comes is dropped.
  void Close();

  void RunOnTextThread() override;

 private:
  void ScheduleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  TextExecutor* const executor_;
  const Clock* const clock_;
  Mutex mutex_;
  std::shared_ptr<Reader> reader_ ABSL_GUARDED_BY(mutex_);
  Mail mail_ ABSL_GUARDED_BY(mutex_);
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;  // the executor has or runs this
  bool again_ ABSL_GUARDED_BY(mutex_) = false;      // something came while it ran
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_TOKEN_MAILBOX_H_
