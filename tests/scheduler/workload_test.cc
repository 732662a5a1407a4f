// Whole workloads, planned step by step over a real cache until everything has ended.
#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/cache/cache_manager.h"
#include "server/scheduler/scheduler.h"

namespace deltaserve {
namespace {

// Samples fork off once the first has computed the prompt; continuations, once the context is
// computed, while its sequence idles and holds it.
enum class Kind { kSamples, kContinuations };

struct Sequence {
  SequenceId id = 0;
  int request = 0;
  Kind kind = Kind::kSamples;
  Sequence* parent = nullptr;
  int64_t prefix_tokens = 0;  // prompt or context
  int64_t final_tokens = 0;   // done when as many are computed
  int64_t num_tokens = 0;
  int64_t num_computed = 0;
  int64_t reserved_slots = 0;
  bool running = false;
  bool born = false;  // its parent has got far enough, once
  bool done = false;
};

struct Limits {
  CacheGeometry geometry;
  int64_t token_budget = 0;
};

class Workload {
 public:
  Workload(const Limits& limits, uint32_t seed)
      : limits_(limits), cache_(limits.geometry), random_(seed) {}

  void AddRequest() {
    const int64_t max_tokens = (limits_.geometry.num_pages - 1) * limits_.geometry.page_tokens;
    const int request = num_requests_++;
    const bool samples = Uniform(0, 2) > 0;
    // A context and the part of a continuation that it does not share must fit side by side.
    const int64_t prefix =
        samples ? Uniform(1, max_tokens)
                : Uniform(1, std::max<int64_t>(1, max_tokens - 2 * limits_.geometry.page_tokens));
    const int64_t room =
        samples ? max_tokens - prefix : max_tokens - limits_.geometry.page_tokens - prefix;
    const int family =
        Uniform(1, samples ? std::min<int64_t>(4, limits_.geometry.num_slots - 1) : 6);
    Sequence* parent = nullptr;
    for (int i = 0; i < (samples ? family : family + 1); ++i) {
      auto sequence = std::make_unique<Sequence>();
      sequence->id = ++last_id_;
      sequence->request = request;
      sequence->kind = samples ? Kind::kSamples : Kind::kContinuations;
      sequence->parent = parent;
      sequence->prefix_tokens = prefix;
      sequence->final_tokens = prefix + (samples ? Uniform(0, room) : 0);
      sequence->num_tokens = prefix;
      if (parent != nullptr) {
        sequence->num_tokens =
            samples ? prefix + 1 : prefix + Uniform(1, std::max<int64_t>(1, room));
        sequence->final_tokens = std::max(sequence->final_tokens, sequence->num_tokens);
        if (samples && room == 0) continue;
      } else {
        parent = sequence.get();
        parent->born = true;
      }
      total_tokens_ += sequence->final_tokens;
      sequences_.push_back(std::move(sequence));
    }
  }

  bool done() const {
    return std::all_of(sequences_.begin(), sequences_.end(), [](const auto& s) { return s->done; });
  }
  int64_t total_tokens() const { return total_tokens_; }
  int64_t preemptions() const { return preemptions_; }
  int64_t forks() const { return forks_; }
  int64_t stalls() const { return stalls_; }
  const CacheManager& cache() const { return cache_; }

  void RunStep() {
    const std::vector<SequenceInfo> infos = Infos();
    ASSERT_FALSE(infos.empty());
    const StepPlan plan = Scheduler().Plan(infos, {.token_budget = limits_.token_budget,
                                                   .free_pages = cache_.free_pages(),
                                                   .free_slots = cache_.free_slots(),
                                                   .page_tokens = limits_.geometry.page_tokens});
    ASSERT_FALSE(plan.chunks.empty() && plan.preempt.empty()) << "stuck";
    stalls_ += plan.chunks.empty();
    for (const SequenceId id : plan.preempt) {
      ASSERT_NE(id, infos.front().id) << "the oldest was preempted";
      ++preemptions_;
      Stop(Find(id));
      Find(id).num_computed = 0;
    }
    CopyList slot_copies;
    for (const SequenceId id : plan.admit) Start(Find(id), slot_copies);

    std::vector<Reservation> reservations;
    for (const StepChunk& chunk : plan.chunks) {
      reservations.push_back({chunk.sequence, chunk.first, chunk.first + chunk.count});
    }
    CopyList page_copies;
    ASSERT_TRUE(cache_.Reserve(reservations, page_copies)) << "the plan promised pages";
    for (const StepChunk& chunk : plan.chunks) Commit(Find(chunk.sequence), chunk);
    EndContexts();
  }

  void CancelOne() {
    const int request = Uniform(0, num_requests_ - 1);
    for (const auto& sequence : sequences_) {
      if (sequence->request == request) Finish(*sequence);
    }
  }

 private:
  int64_t Uniform(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  Sequence& Find(SequenceId id) {
    return **std::find_if(sequences_.begin(), sequences_.end(),
                          [id](const auto& sequence) { return sequence->id == id; });
  }

  // Its parent has in the cache what it would share.
  static bool CanFork(const Sequence& sequence) {
    return sequence.parent != nullptr && sequence.parent->running &&
           sequence.parent->num_computed >= sequence.prefix_tokens;
  }

  std::vector<SequenceInfo> Infos() const {
    std::vector<SequenceInfo> infos;
    int64_t reserve_left = 0;
    for (const auto& s : sequences_) {
      if (s->parent == nullptr) reserve_left = s->reserved_slots;
      if (s->done || !s->born) continue;
      SequenceInfo info{.id = s->id,
                        .num_tokens = s->num_tokens,
                        .num_computed = s->num_computed,
                        .running = s->running};
      if (s->running) {
        info.pages_held = cache_.Pages(s->id).size();
        info.pages_freed = cache_.ExclusivePages(s->id);
        info.next_page_shared = cache_.IsShared(s->id, s->num_computed);
      } else if (CanFork(*s)) {
        const int64_t page_tokens = limits_.geometry.page_tokens;
        info.num_computed = s->prefix_tokens;
        info.pages_held = (s->prefix_tokens + page_tokens - 1) / page_tokens;
        info.next_page_shared = s->prefix_tokens % page_tokens != 0;
        if (reserve_left > 0) {
          --reserve_left;
          info.slots_needed = 0;
        }
      } else if (s->parent != nullptr && s->kind == Kind::kContinuations) {
        continue;  // its context has to come back first
      } else {
        info.slots_needed = 1 + UnbornSiblings(*s);
      }
      infos.push_back(info);
    }
    return infos;
  }

  int64_t UnbornSiblings(const Sequence& sequence) const {
    if (sequence.kind == Kind::kContinuations) return 0;
    return std::count_if(sequences_.begin(), sequences_.end(), [&](const auto& s) {
      return s->parent == &sequence && !s->born && !s->done;
    });
  }

  void Start(Sequence& sequence, CopyList& slot_copies) {
    if (CanFork(sequence)) {
      ++forks_;
      Sequence& parent = *sequence.parent;
      ASSERT_TRUE(cache_.Fork(parent.id, sequence.id, sequence.prefix_tokens, slot_copies));
      parent.reserved_slots = std::max<int64_t>(0, parent.reserved_slots - 1);
      sequence.num_computed = sequence.prefix_tokens;
    } else {
      sequence.reserved_slots = UnbornSiblings(sequence);
      ASSERT_TRUE(cache_.Admit(sequence.id, 1 + sequence.reserved_slots));
    }
    sequence.running = true;
  }

  void Stop(Sequence& sequence) {
    cache_.Release(sequence.id);
    sequence.running = false;
    sequence.reserved_slots = 0;
  }

  void Finish(Sequence& sequence) {
    if (sequence.running) Stop(sequence);
    sequence.done = true;
  }

  void Commit(Sequence& sequence, const StepChunk& chunk) {
    sequence.num_computed += chunk.count;
    if (!chunk.last) return;
    for (const auto& child : sequences_) {
      if (child->parent == &sequence) child->born = true;
    }
    const bool context = sequence.kind == Kind::kContinuations && sequence.parent == nullptr;
    if (context) return;
    const bool stop = sequence.kind == Kind::kSamples && Uniform(0, 39) == 0;
    if (stop || sequence.num_tokens == sequence.final_tokens) return Finish(sequence);
    ++sequence.num_tokens;
  }

  // A context is held until its last continuation is done.
  void EndContexts() {
    for (const auto& context : sequences_) {
      if (context->kind != Kind::kContinuations || context->parent != nullptr) continue;
      if (context->done) continue;
      if (std::all_of(sequences_.begin(), sequences_.end(),
                      [&](const auto& s) { return s->parent != context.get() || s->done; })) {
        Finish(*context);
      }
    }
  }

  const Limits limits_;
  CacheManager cache_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // oldest first, children after their parent
  SequenceId last_id_ = 0;
  int num_requests_ = 0;
  int64_t total_tokens_ = 0;
  int64_t preemptions_ = 0;
  int64_t forks_ = 0;
  int64_t stalls_ = 0;
};

TEST(WorkloadTest, EverythingEndsAndEverythingIsFreeAfterwards) {
  int64_t preemptions = 0;
  int64_t forks = 0;
  int64_t stalls = 0;
  for (uint32_t seed = 0; seed < 300 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto uniform = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    const int slots = uniform(2, 8);
    const Limits limits{.geometry = {.page_tokens = uniform(1, 5),
                                     .num_pages = 1 + uniform(4, 24),
                                     .num_slots = 1 + slots},
                        .token_budget = slots + uniform(0, 12)};
    Workload workload(limits, seed);
    const int num_requests = uniform(1, 20);
    for (int i = 0; i < num_requests / 2 + 1; ++i) workload.AddRequest();
    int to_come = num_requests - num_requests / 2 - 1;
    const bool cancels = uniform(0, 1) == 0;

    int64_t steps = 0;
    while ((to_come > 0 || !workload.done()) && !::testing::Test::HasFailure()) {
      if (to_come > 0 && (workload.done() || uniform(0, 4) == 0)) {
        workload.AddRequest();
        --to_come;
      }
      workload.RunStep();
      if (cancels && uniform(0, 30) == 0) workload.CancelOne();
      // The oldest gets a token in every step but those that only make room for it.
      ASSERT_LE(++steps, 2 * workload.total_tokens()) << "livelock";
    }
    EXPECT_EQ(workload.cache().used_pages(), 0);
    EXPECT_EQ(workload.cache().used_slots(), 0);
    preemptions += workload.preemptions();
    forks += workload.forks();
    stalls += workload.stalls();
  }
  // The interesting cases did occur.
  EXPECT_GT(preemptions, 1000);
  EXPECT_GT(forks, 1000);
  EXPECT_GT(stalls, 10);
}

}  // namespace
}  // namespace deltaserve
