#include "client/cli/bench_load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <utility>

namespace deltaserve::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Makes the calls' requests, of which each is another.
class RequestSource {
 public:
  RequestSource(const BenchLoad& load, int64_t vocab_size)
      : load_(load), vocab_size_(vocab_size), random_(load.seed) {}

  v1::GenerateRequest Next() {
    v1::GenerateRequest request;
    request.set_model(load_.model);
    if (load_.prompts.empty()) {
      auto& ids = *request.mutable_token_ids()->mutable_ids();
      std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(vocab_size_ - 1));
      for (int64_t left = Draw(load_.prompt_tokens); left > 0; --left) ids.Add(id(random_));
      request.set_ignore_eos(true);
    } else {
      request.set_text(load_.prompts[number_ % load_.prompts.size()]);
    }
    request.set_max_tokens(static_cast<int32_t>(Draw(load_.max_tokens)));
    if (load_.temperature) request.set_temperature(*load_.temperature);
    request.set_seed(load_.seed + number_++);
    return request;
  }

 private:
  int64_t Draw(const TokenRange& range) {
    return std::uniform_int_distribution<int64_t>(range.least, range.most)(random_);
  }

  const BenchLoad& load_;
  const int64_t vocab_size_;
  std::mt19937_64 random_;
  uint64_t number_ = 0;
};

class LoadRun {
 public:
  LoadRun(const Client& client, const BenchLoad& load, int64_t vocab_size,
          const CallOptions& options, const std::function<void(const BenchProgress&)>& progress)
      : client_(client),
        load_(load),
        options_(options),
        progress_(progress),
        requests_(load, vocab_size),
        arrivals_(load.seed + 1),
        begin_(SteadyClock::now() + Seconds(load.warmup)) {}

  BenchRun Run() {
    const int64_t most =
        load_.requests ? std::min(*load_.requests, BenchLoad::kMostCalls) : BenchLoad::kMostCalls;
    double due = -load_.warmup;
    for (int64_t counted = 0; counted < most && calls_.size() < BenchLoad::kMostCalls;) {
      if (load_.rate) due += std::exponential_distribution<double>(*load_.rate)(arrivals_);
      if (load_.rate && IsOver(due)) break;
      if (!AwaitTurn(due)) break;
      if (!load_.rate) due = Now();
      if (IsOver(due)) break;
      counted += due >= 0;
      Start(due);
    }
    AwaitEnd();
    return Result();
  }

 private:
  class Call final : public GenerationObserver {
   public:
    Call(LoadRun& run, double due) : run_(run) {
      record.due = due;
      record.counted = due >= 0;
    }

    void OnChunk(const v1::GenerateChunk& chunk) override {
      int64_t tokens = 0;
      for (const v1::Sample& sample : chunk.samples()) tokens += sample.token_ids_size();
      if (tokens > 0) record.arrivals.push_back({run_.Now(), tokens});
      if (chunk.has_usage()) record.usage = chunk.usage();
      run_.tokens_.fetch_add(tokens, std::memory_order_relaxed);
    }

    void OnEnd(const absl::Status& status) override {
      record.ended = run_.Now();
      record.status = status;
      if (!status.ok()) record.usage = UsageOf(status);
      run_.OneEnded(status.ok());
    }

    BenchCall record;

   private:
    LoadRun& run_;
  };

  static SteadyClock::duration Seconds(double seconds) {
    return std::chrono::duration_cast<SteadyClock::duration>(
        std::chrono::duration<double>(seconds));
  }

  double Now() const { return std::chrono::duration<double>(SteadyClock::now() - begin_).count(); }

  void Start(double due) {
    calls_.push_back(std::make_unique<Call>(*this, due));
    {
      std::lock_guard lock(mutex_);
      ++in_flight_;
    }
    calls_.back()->record.begun = Now();
    client_.GenerateStream(requests_.Next(), calls_.back().get(), options_);
  }

  // The observer is not touched after this.
  void OneEnded(bool ok) {
    std::lock_guard lock(mutex_);
    --in_flight_;
    ++ended_;
    failed_ += !ok;
    changed_.notify_all();
  }

  bool IsOver(double due) const { return !load_.requests && due >= load_.duration; }

  // Blocks until the next call may begin, or a closed loop is over; false: interrupted.
  bool AwaitTurn(double due) {
    if (load_.rate) {
      return Await([&] { return in_flight_ < load_.max_in_flight && Now() >= due; }, due);
    }
    return Await([this] { return in_flight_ < load_.concurrency || IsOver(Now()); },
                 load_.duration);
  }

  void AwaitEnd() {
    const auto none = [this] { return in_flight_ == 0; };
    if (Await(none, std::numeric_limits<double>::infinity())) return;
    std::unique_lock lock(mutex_);  // interrupted: the calls are being cancelled
    changed_.wait(lock, none);
  }

  // Waits for `ready`, which turns true with a call's end or at `at`; false: interrupted before.
  template <typename Ready>
  bool Await(const Ready& ready, double at) {
    std::unique_lock lock(mutex_);
    while (!options_.cancellation.stop_requested()) {
      if (ready()) return true;
      const double now = Now();
      if (now >= next_progress_) Tell(now);
      const double wake = at > now ? std::min(next_progress_, at) : next_progress_;
      changed_.wait_until(lock, options_.cancellation, begin_ + Seconds(wake), ready);
    }
    return false;
  }

  void Tell(double now) {
    const int64_t tokens = tokens_.load(std::memory_order_relaxed);
    const double since = now - std::exchange(told_at_, now);
    const int64_t before = std::exchange(told_tokens_, tokens);
    progress_({.seconds = now,
               .ended = ended_,
               .failed = failed_,
               .in_flight = in_flight_,
               .tokens_per_second = static_cast<double>(tokens - before) / since});
    next_progress_ = now + 1;
  }

  BenchRun Result() {
    BenchRun run;
    run.interrupted = options_.cancellation.stop_requested();
    for (const auto& call : calls_) {
      BenchCall& record = call->record;
      if (run.interrupted && absl::IsCancelled(record.status)) continue;
      if (record.counted) run.seconds = std::max(run.seconds, record.ended);
      run.calls.push_back(std::move(record));
    }
    if (!load_.requests && !run.interrupted) run.seconds = load_.duration;
    return run;
  }

  const Client& client_;
  const BenchLoad& load_;
  const CallOptions& options_;
  const std::function<void(const BenchProgress&)>& progress_;
  RequestSource requests_;
  std::mt19937_64 arrivals_;
  const SteadyClock::time_point begin_;  // the end of the warm-up
  std::vector<std::unique_ptr<Call>> calls_;
  double next_progress_ = -load_.warmup + 1;
  double told_at_ = -load_.warmup;
  int64_t told_tokens_ = 0;

  std::atomic<int64_t> tokens_ = 0;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t in_flight_ = 0;  // these under mutex_
  int64_t ended_ = 0;
  int64_t failed_ = 0;
};

}  // namespace

absl::StatusOr<BenchRun> RunBench(const Client& client, const BenchLoad& load,
                                  const CallOptions& options,
                                  const std::function<void(const BenchProgress&)>& progress) {
  int64_t vocab_size = 0;
  if (load.prompts.empty()) {
    // A server with one model is asked for its list: the name may be left out elsewhere only.
    if (load.model.empty()) {
      const absl::StatusOr<std::vector<v1::Model>> models = client.ListModels(options);
      if (!models.ok()) return models.status();
      if (models->size() == 1) vocab_size = models->front().vocab_size();
    } else {
      const absl::StatusOr<v1::Model> model = client.GetModel(load.model, options);
      if (!model.ok()) return model.status();
      vocab_size = model->vocab_size();
    }
    if (vocab_size < 1) {
      return absl::InvalidArgumentError("the server has several models: --model says which");
    }
  }
  return LoadRun(client, load, vocab_size, options, progress).Run();
}

}  // namespace deltaserve::cli
