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

// A request is one sequence that grows, or a trunk, which holds a prompt or a context until the
// last fork has taken it over, and its forks: samples that grow, or continuations.
struct Sequence {
  SequenceId id = 0;
  int request = 0;
  Sequence* trunk = nullptr;  // of a fork, while the trunk is there
  int64_t shared_tokens = 0;  // with it
  int64_t num_tokens = 0;
  int64_t final_tokens = 0;  // done when as many are computed
  int64_t num_computed = 0;
  bool is_trunk = false;
  bool born = true;  // the trunk has got far enough, once
  bool running = false;
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
    const int request = num_requests_++;
    const int64_t max_tokens = (limits_.geometry.num_pages - 1) * limits_.geometry.page_tokens;
    const int64_t num_forks = Uniform(0, 2) == 0 ? 0 : Uniform(1, 6);
    if (num_forks == 0) {
      Sequence& single = Add(request, Uniform(1, max_tokens));
      return SetEnd(single, Uniform(single.num_tokens, max_tokens));
    }
    // A trunk and the part of a fork that it does not share must fit side by side.
    const int64_t most = max_tokens - limits_.geometry.page_tokens;
    const bool samples = Uniform(0, 1) == 0;
    Sequence& trunk = Add(request, Uniform(1, most - 1));
    trunk.is_trunk = true;
    SetEnd(trunk, trunk.num_tokens);
    for (int64_t i = 0; i < num_forks; ++i) {
      Sequence& fork =
          Add(request, trunk.num_tokens + (samples ? 1 : Uniform(1, most - trunk.num_tokens)));
      fork.trunk = &trunk;
      fork.shared_tokens = trunk.num_tokens;
      fork.born = false;
      SetEnd(fork, samples ? Uniform(fork.num_tokens, most) : fork.num_tokens);
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
    EndTrunks();
  }

  void CancelOne() {
    const int request = Uniform(0, num_requests_ - 1);
    for (const auto& sequence : sequences_) {
      if (sequence->request == request && !sequence->done) Finish(*sequence);
    }
  }

 private:
  Sequence& Add(int request, int64_t num_tokens) {
    Sequence& sequence = *sequences_.emplace_back(std::make_unique<Sequence>());
    sequence.id = ++last_id_;
    sequence.request = request;
    sequence.num_tokens = num_tokens;
    return sequence;
  }

  void SetEnd(Sequence& sequence, int64_t final_tokens) {
    sequence.final_tokens = final_tokens;
    total_tokens_ += final_tokens;
  }

  int64_t Uniform(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  Sequence& Find(SequenceId id) {
    return **std::find_if(sequences_.begin(), sequences_.end(),
                          [id](const auto& sequence) { return sequence->id == id; });
  }

  std::vector<SequenceInfo> Infos() const {
    std::vector<SequenceInfo> infos;
    for (const auto& s : sequences_) {
      if (s->done || !s->born) continue;
      SequenceInfo info{.id = s->id,
                        .num_tokens = s->num_tokens,
                        .num_computed = s->num_computed,
                        .running = s->running};
      if (s->running) {
        info.pages_held = cache_.Pages(s->id).size();
        info.pages_freed = cache_.ExclusivePages(s->id);
        info.next_page_shared = cache_.IsShared(s->id, s->num_computed);
      } else if (s->trunk != nullptr) {
        // After a preemption the trunk has to come back first.
        if (!s->trunk->running || s->trunk->num_computed < s->shared_tokens) continue;
        const int64_t page_tokens = limits_.geometry.page_tokens;
        info.num_computed = s->shared_tokens;
        info.pages_held = (s->shared_tokens + page_tokens - 1) / page_tokens;
        info.next_page_shared = s->shared_tokens % page_tokens != 0;
      }
      infos.push_back(info);
    }
    return infos;
  }

  void Start(Sequence& sequence, CopyList& slot_copies) {
    if (sequence.trunk != nullptr) {
      ++forks_;
      ASSERT_TRUE(
          cache_.Fork(sequence.trunk->id, sequence.id, sequence.shared_tokens, slot_copies));
      sequence.num_computed = sequence.shared_tokens;
    } else {
      ASSERT_TRUE(cache_.Admit(sequence.id));
    }
    sequence.running = true;
  }

  void Stop(Sequence& sequence) {
    cache_.Release(sequence.id);
    sequence.running = false;
  }

  void Finish(Sequence& sequence) {
    if (sequence.running) Stop(sequence);
    sequence.done = true;
  }

  void Commit(Sequence& sequence, const StepChunk& chunk) {
    sequence.num_computed += chunk.count;
    if (!chunk.last) return;
    if (sequence.is_trunk) {
      for (const auto& fork : sequences_) fork->born |= fork->trunk == &sequence;
      return;
    }
    const bool grows = sequence.num_tokens < sequence.final_tokens;
    if (!grows || Uniform(0, 39) == 0) return Finish(sequence);
    ++sequence.num_tokens;
  }

  // A trunk is held for as long as any of its forks waits.
  void EndTrunks() {
    for (const auto& trunk : sequences_) {
      if (!trunk->is_trunk || trunk->done) continue;
      const auto is_fork = [&](const auto& s) { return s->trunk == trunk.get(); };
      if (std::any_of(sequences_.begin(), sequences_.end(),
                      [&](const auto& s) { return is_fork(s) && !s->running && !s->done; })) {
        continue;
      }
      Finish(*trunk);
      for (const auto& s : sequences_) {
        if (is_fork(s)) s->trunk = nullptr;
      }
    }
  }

  const Limits limits_;
  CacheManager cache_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // oldest first, forks after their trunk
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
