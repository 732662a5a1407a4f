#include "tests/support/load/load_driver.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <cmath>
#include <memory>
#include <random>
#include <stop_token>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/client.h"
#include "deltaserve/v1/inference.grpc.pb.h"
#include "server/api/mutex.h"

namespace deltaserve {
namespace {

using Async = v1::InferenceService::StubInterface::async_interface;

class OpenCalls {
 public:
  explicit OpenCalls(int count) : count_(count) {}

  void OneEnded() {
    MutexLock lock(&mutex_);
    if (--count_ == 0) none_.NotifyAll();
  }

  // False: some are still open after `timeout`.
  bool AwaitNone(absl::Duration timeout) {
    MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return count_ <= 0; };
    return none_.WaitFor(&mutex_, timeout, none);
  }

 private:
  Mutex mutex_;
  CondVar none_;
  int count_ ABSL_GUARDED_BY(mutex_);
};

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}

  int UpTo(int max) { return std::uniform_int_distribution<int>(1, max)(engine_); }
  double Share() { return std::uniform_real_distribution<double>()(engine_); }
  v1::TokenIds Ids(int count, int vocab_size) {
    v1::TokenIds ids;
    for (int i = 0; i < count; ++i) ids.add_ids(UpTo(vocab_size) - 1);
    return ids;
  }
  CallFate Fate(const LoadOptions& options) {
    const double share = Share();
    if (share < options.cancelled) return CallFate::kCancelled;
    if (share < options.cancelled + options.short_deadline) return CallFate::kShortDeadline;
    return CallFate::kToTheEnd;
  }

 private:
  std::mt19937_64 engine_;
};

// One call in flight. It is called back one at a time; the driver reads a call's record only once
// OpenCalls has seen its end. A call outlives its last callback.
class Call {
 public:
  Call(int number, CallFate fate, OpenCalls& open) : number_(number), open_(open) {
    record.fate = fate;
  }
  virtual ~Call() = default;

  virtual void Start() = 0;
  virtual void Cancel() = 0;

  CallRecord record;
  std::vector<std::string> violations;

 protected:
  void Violation(absl::string_view what) {
    violations.push_back(absl::StrCat("call ", number_, ": ", what));
  }

  void CheckStatus() {
    const absl::StatusCode code = record.status.code();
    const bool explained =
        record.status.ok() ||
        (record.fate == CallFate::kCancelled && code == absl::StatusCode::kCancelled) ||
        (record.fate == CallFate::kShortDeadline && code == absl::StatusCode::kDeadlineExceeded);
    if (!explained) Violation(absl::StrCat("ended with ", record.status.ToString()));
  }

  void Ended() { open_.OneEnded(); }

 private:
  const int number_;
  OpenCalls& open_;
};

class StreamCall final : public Call, private GenerationObserver {
 public:
  StreamCall(int number, const Client& client, const LoadOptions& options, Dice& dice,
             OpenCalls& open)
      : Call(number, dice.Fate(options), open), client_(client) {
    request_.set_model(options.model);
    *request_.mutable_token_ids() =
        dice.Ids(dice.UpTo(options.max_prompt_tokens), options.vocab_size);
    request_.set_max_tokens(dice.UpTo(options.max_new_tokens));
    request_.set_ignore_eos(true);
    request_.set_seed(number);
    cancel_after_ = dice.UpTo(request_.max_tokens()) - 1;
    if (record.fate == CallFate::kShortDeadline) {
      deadline_ = absl::Milliseconds(1) + dice.Share() * options.longest_deadline;
    }
  }

  void Start() override {
    if (record.fate == CallFate::kCancelled && cancel_after_ == 0) Cancel();
    client_.GenerateStream(request_, this,
                           {.timeout = deadline_, .cancellation = cancellation_.get_token()});
  }

  void Cancel() override { cancellation_.request_stop(); }

 private:
  void OnChunk(const v1::GenerateChunk& chunk) override {
    Check(chunk);
    ++record.chunks;
    if (record.fate == CallFate::kCancelled && record.chunks == cancel_after_) Cancel();
  }

  void OnEnd(const absl::Status& status) override {
    ++record.times_ended;
    record.status = status;
    CheckStatus();
    if (status.ok()) CheckWhole();
    Ended();
  }

  void Check(const v1::GenerateChunk& chunk) {
    if (record.chunks == 0 && chunk.request_id().empty()) Violation("the first message is unnamed");
    if (usage_.has_value()) Violation("a message after the usage");
    for (const v1::Sample& sample : chunk.samples()) {
      if (sample.index() != 0) Violation(absl::StrCat("sample ", sample.index(), " of one"));
      if (reason_ != v1::FINISH_REASON_UNSPECIFIED) Violation("a sample went on after its end");
      reason_ = sample.finish_reason();
      record.tokens += sample.token_ids_size();
    }
    if (chunk.has_usage()) usage_ = chunk.usage();
  }

  void CheckWhole() {
    if (reason_ != v1::LENGTH) {
      Violation(absl::StrCat("OK, but finish reason ", v1::FinishReason_Name(reason_)));
    }
    if (record.tokens != request_.max_tokens()) {
      Violation(absl::StrCat("OK, but ", record.tokens, " of ", request_.max_tokens(), " tokens"));
    }
    if (!usage_) {
      Violation("OK, but no usage");
    } else if (usage_->completion_tokens() != record.tokens ||
               usage_->prompt_tokens() != request_.token_ids().ids_size()) {
      Violation(absl::StrCat("usage differs: ", usage_->ShortDebugString()));
    }
  }

  const Client& client_;
  std::stop_source cancellation_;
  v1::GenerateRequest request_;
  absl::Duration deadline_ = absl::InfiniteDuration();
  int cancel_after_ = 0;  // chunks
  v1::FinishReason reason_ = v1::FINISH_REASON_UNSPECIFIED;
  std::optional<v1::Usage> usage_;
};

class ScoreCall final : public Call {
 public:
  ScoreCall(int number, Async& stub, const LoadOptions& options, Dice& dice, OpenCalls& open)
      : Call(number, CallFate::kToTheEnd, open), stub_(stub) {
    record.is_score = true;
    request_.set_model(options.model);
    *request_.mutable_token_ids() =
        dice.Ids(dice.UpTo(options.max_prompt_tokens), options.vocab_size);
    if (dice.Share() < 0.5) {
      for (int i = dice.UpTo(3); i > 0; --i) {
        *request_.add_continuations()->mutable_token_ids() =
            dice.Ids(dice.UpTo(8), options.vocab_size);
      }
    }
  }

  void Start() override {
    stub_.Score(&context_, &request_, &response_, [this](const grpc::Status& status) {
      ++record.times_ended;
      record.status = ToAbslStatus(status, context_);
      CheckStatus();
      if (status.ok()) CheckWhole();
      Ended();
    });
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  void CheckWhole() {
    if (response_.continuations_size() != request_.continuations_size()) {
      return Violation(absl::StrCat(response_.continuations_size(), " continuations of ",
                                    request_.continuations_size()));
    }
    if (request_.continuations_size() == 0) {
      CheckScores(response_.sequence(), request_.token_ids().ids_size() - 1);
    }
    for (int i = 0; i < request_.continuations_size(); ++i) {
      CheckScores(response_.continuations(i), request_.continuations(i).token_ids().ids_size());
    }
  }

  void CheckScores(const v1::ScoredTokens& scores, int num_tokens) {
    if (scores.tokens_size() != num_tokens) {
      Violation(absl::StrCat(scores.tokens_size(), " scores of ", num_tokens));
    }
    double sum = 0;
    for (const v1::TokenLogprob& token : scores.tokens()) sum += token.logprob();
    if (!(std::abs(sum - scores.loglik()) <= 1e-3)) {
      Violation(absl::StrCat("loglik ", scores.loglik(), " of tokens that add up to ", sum));
    }
  }

  Async& stub_;
  grpc::ClientContext context_;
  v1::ScoreRequest request_;
  v1::ScoreResponse response_;
};

}  // namespace

LoadReport RunLoad(const LoadOptions& options) {
  const auto channel = grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials());
  const Client client(channel);
  const auto stub = v1::InferenceService::NewStub(channel);
  Dice dice(options.seed);
  OpenCalls open(options.num_calls);
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < options.num_calls; ++i) {
    if (dice.Share() < options.scores) {
      calls.push_back(std::make_unique<ScoreCall>(i, *stub->async(), options, dice, open));
    } else {
      calls.push_back(std::make_unique<StreamCall>(i, client, options, dice, open));
    }
  }

  // Connected first, so that short deadlines run out at the server and not on the way to it.
  channel->WaitForConnected(absl::ToChronoTime(absl::Now() + options.limit));
  const absl::Time begin = absl::Now();
  for (auto& call : calls) call->Start();
  LoadReport report;
  if (!open.AwaitNone(options.limit)) {
    report.violations.push_back(
        absl::StrCat("calls still open after ", absl::FormatDuration(options.limit)));
    for (auto& call : calls) call->Cancel();
    open.AwaitNone(absl::InfiniteDuration());
  }
  report.elapsed = absl::Now() - begin;

  for (auto& call : calls) {
    ++report.by_status[call->record.status.code()];
    report.tokens += call->record.tokens;
    report.violations.insert(report.violations.end(), call->violations.begin(),
                             call->violations.end());
    report.calls.push_back(std::move(call->record));
  }
  return report;
}

}  // namespace deltaserve
