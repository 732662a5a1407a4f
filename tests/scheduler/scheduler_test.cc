#include "server/scheduler/scheduler.h"

#include <ostream>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace deltaserve {

void PrintTo(const StepChunk& chunk, std::ostream* out) {
  *out << "{" << chunk.sequence << ": [" << chunk.first << ", " << chunk.first + chunk.count << ")"
       << (chunk.last ? ", last}" : "}");
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kPageTokens = 4;

int64_t PagesOf(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }

// Holds just the pages of what it has computed, alone.
SequenceInfo Running(SequenceId id, int64_t num_tokens, int64_t num_computed) {
  return {.id = id,
          .num_tokens = num_tokens,
          .num_computed = num_computed,
          .running = true,
          .pages_held = PagesOf(num_computed),
          .pages_freed = PagesOf(num_computed)};
}

SequenceInfo Decode(SequenceId id, int64_t num_tokens) {
  return Running(id, num_tokens, num_tokens - 1);
}

SequenceInfo Waiting(SequenceId id, int64_t num_tokens) {
  return {.id = id, .num_tokens = num_tokens};
}

// Waits to share the `num_shared` tokens its parent has computed.
SequenceInfo WaitingFork(SequenceId id, int64_t num_tokens, int64_t num_shared) {
  return {.id = id,
          .num_tokens = num_tokens,
          .num_computed = num_shared,
          .pages_held = PagesOf(num_shared),
          .next_page_shared = num_shared % kPageTokens != 0};
}

SequenceInfo Shared(SequenceInfo sequence) {
  sequence.next_page_shared = true;
  sequence.pages_freed = 0;
  return sequence;
}

StepChunk Whole(SequenceId id, int64_t first, int64_t count) { return {id, first, count, true}; }
StepChunk Part(SequenceId id, int64_t first, int64_t count) { return {id, first, count, false}; }

StepPlan Plan(const std::vector<SequenceInfo>& sequences, int64_t budget, int64_t free_pages,
              int64_t free_slots = 10) {
  return Scheduler().Plan(sequences, {.token_budget = budget,
                                      .free_pages = free_pages,
                                      .free_slots = free_slots,
                                      .page_tokens = kPageTokens});
}

TEST(SchedulerTest, NothingToDo) {
  EXPECT_THAT(Plan({}, 8, 8).chunks, IsEmpty());
  const StepPlan plan = Plan({Running(1, 6, 6)}, 8, 8);
  EXPECT_THAT(plan.chunks, IsEmpty());
  EXPECT_THAT(plan.preempt, IsEmpty());
}

// Budget.

TEST(SchedulerTest, DecodesComeBeforeAnOlderPrefill) {
  const StepPlan plan = Plan({Running(1, 30, 4), Decode(2, 6), Decode(3, 7)}, 10, 20);
  EXPECT_THAT(plan.chunks, ElementsAre(Part(1, 4, 8), Whole(2, 5, 1), Whole(3, 6, 1)));
  EXPECT_THAT(plan.preempt, IsEmpty());
}

TEST(SchedulerTest, PrefillsShareWhatIsLeftOldestFirst) {
  const StepPlan plan = Plan({Running(1, 9, 4), Running(2, 30, 8), Running(3, 9, 4)}, 8, 20);
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 4, 5), Part(2, 8, 3)));
}

TEST(SchedulerTest, AChunkOfOneTokenIsOrdinary) {
  EXPECT_THAT(Plan({Running(1, 30, 4), Decode(2, 6)}, 2, 20).chunks,
              ElementsAre(Part(1, 4, 1), Whole(2, 5, 1)));
}

TEST(SchedulerTest, NoBudgetNoChunk) {
  const StepPlan plan = Plan({Running(1, 30, 4), Waiting(2, 4)}, 0, 20);
  EXPECT_THAT(plan.chunks, IsEmpty());
  EXPECT_THAT(plan.preempt, IsEmpty());
}

// Admission.

TEST(SchedulerTest, WaitingOnesAreAdmittedInOrderIntoWhatIsLeft) {
  const StepPlan plan = Plan({Decode(1, 6), Waiting(2, 5), Waiting(3, 9)}, 10, 20);
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 5, 1), Whole(2, 0, 5), Part(3, 0, 4)));
  EXPECT_THAT(plan.admit, ElementsAre(2, 3));
}

TEST(SchedulerTest, AdmissionNeedsBudgetToStartWith) {
  const StepPlan plan = Plan({Running(1, 30, 4), Waiting(2, 5)}, 10, 20);
  EXPECT_THAT(plan.chunks, ElementsAre(Part(1, 4, 10)));
  EXPECT_THAT(plan.admit, IsEmpty());
}

TEST(SchedulerTest, AdmissionNeedsThePagesOfAllKnownTokens) {
  // Of 9 tokens only 4 would run now, in one page; but three must be free.
  EXPECT_THAT(Plan({Waiting(1, 9)}, 4, 2).admit, IsEmpty());
  EXPECT_THAT(Plan({Waiting(1, 9)}, 4, 3).chunks, ElementsAre(Part(1, 0, 4)));
}

TEST(SchedulerTest, AdmissionLooksAtThePagesTheRunningLeave) {
  const std::vector<SequenceInfo> sequences = {Decode(1, 5), Waiting(2, 8)};
  EXPECT_THAT(Plan(sequences, 10, 2).admit, IsEmpty());
  EXPECT_THAT(Plan(sequences, 10, 3).admit, ElementsAre(2));
}

TEST(SchedulerTest, AdmissionNeedsASlot) {
  const std::vector<SequenceInfo> sequences = {Decode(1, 7), Waiting(2, 2), WaitingFork(3, 6, 5)};
  EXPECT_THAT(Plan(sequences, 8, 8, 0).admit, IsEmpty());
  EXPECT_THAT(Plan(sequences, 8, 8, 1).admit, ElementsAre(2));
  EXPECT_THAT(Plan(sequences, 8, 8, 2).admit, ElementsAre(2, 3));
}

TEST(SchedulerTest, NobodyOvertakes) {
  EXPECT_THAT(Plan({Decode(1, 6), Waiting(2, 16), Waiting(3, 1)}, 20, 3).admit, IsEmpty());
}

TEST(SchedulerTest, AForkPaysForTheCopyOfTheSharedPage) {
  // 5 tokens shared in two pages; 10 known: one more page, and a copy of the second.
  EXPECT_THAT(Plan({Running(1, 5, 5), WaitingFork(2, 10, 5)}, 8, 1).admit, IsEmpty());
  EXPECT_THAT(Plan({Running(1, 5, 5), WaitingFork(2, 10, 5)}, 8, 2).chunks,
              ElementsAre(Whole(2, 5, 5)));
  // 4 tokens shared, a full page: nothing to copy.
  EXPECT_THAT(Plan({Running(1, 4, 4), WaitingFork(2, 8, 4)}, 8, 1).chunks,
              ElementsAre(Whole(2, 4, 4)));
}

TEST(SchedulerTest, AWaitingOneWithNothingToComputeIsPassedOver) {
  EXPECT_THAT(Plan({Running(1, 5, 5), WaitingFork(2, 5, 5), Waiting(3, 4)}, 8, 8).admit,
              ElementsAre(3));
}

// Pages run out.

TEST(SchedulerTest, TheYoungestGivesWay) {
  const StepPlan plan = Plan({Decode(1, 5), Decode(2, 6), Decode(3, 10)}, 8, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(3));
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 4, 1), Whole(2, 5, 1)));
}

TEST(SchedulerTest, NobodyIsAdmittedWhereSomebodyWasPreempted) {
  const StepPlan plan = Plan({Decode(1, 5), Decode(2, 10), Waiting(3, 1)}, 8, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.admit, IsEmpty());
}

TEST(SchedulerTest, AsManyGiveWayAsItTakes) {
  const StepPlan plan = Plan({Running(1, 24, 12), Decode(2, 4), Decode(3, 4), Decode(4, 4)}, 20, 1);
  EXPECT_THAT(plan.preempt, ElementsAre(4, 3));
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 12, 12), Whole(2, 3, 1)));
}

TEST(SchedulerTest, TheBudgetOfAVictimGoesToTheOlder) {
  const StepPlan plan = Plan({Running(1, 12, 4), Decode(2, 9)}, 4, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.chunks, ElementsAre(Part(1, 4, 4)));
}

TEST(SchedulerTest, AHolderWithNothingToComputeGivesWayToo) {
  const StepPlan plan = Plan({Decode(1, 5), Running(2, 8, 8)}, 8, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 4, 1)));
}

TEST(SchedulerTest, AnOlderPrefillIsNotShortenedWhileAYoungerRuns) {
  const StepPlan plan = Plan({Running(1, 16, 8), Decode(2, 4)}, 20, 1);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 8, 8)));
}

TEST(SchedulerTest, TheYoungestPrefillIsShortenedToWhatFits) {
  const StepPlan plan = Plan({Decode(1, 6), Running(2, 20, 6)}, 20, 1);
  EXPECT_THAT(plan.preempt, IsEmpty());
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 5, 1), Part(2, 6, 6)));
}

TEST(SchedulerTest, TheYoungestPrefillStillFillsThePageItHolds) {
  EXPECT_THAT(Plan({Decode(1, 6), Running(2, 20, 6)}, 20, 0).chunks,
              ElementsAre(Whole(1, 5, 1), Part(2, 6, 2)));
}

TEST(SchedulerTest, TheCopyOfASharedPageComesFirst) {
  const SequenceInfo fork = Shared(Running(2, 20, 6));
  EXPECT_THAT(Plan({Decode(1, 6), fork}, 20, 0).preempt, ElementsAre(2));
  EXPECT_THAT(Plan({Decode(1, 6), fork}, 20, 1).chunks, ElementsAre(Whole(1, 5, 1), Part(2, 6, 2)));
}

TEST(SchedulerTest, TheYoungestWithoutAnyPageGoes) {
  const StepPlan plan = Plan({Decode(1, 6), Decode(2, 5)}, 8, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 5, 1)));
}

TEST(SchedulerTest, TheOldestWaitsForThePagesOfItsVictims) {
  const StepPlan plan = Plan({Shared(Decode(1, 6)), Shared(Decode(2, 6))}, 8, 0);
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.chunks, IsEmpty());
}

// Nothing would run.

TEST(SchedulerTest, AnIdleHolderGoesWhereItKeepsOutTheFirst) {
  const std::vector<SequenceInfo> sequences = {Running(1, 4, 4), WaitingFork(2, 8, 4),
                                               Running(3, 8, 8), WaitingFork(4, 9, 8)};
  const StepPlan no_page = Plan(sequences, 8, 0);
  EXPECT_THAT(no_page.preempt, ElementsAre(3));
  EXPECT_THAT(no_page.chunks, IsEmpty());
  const StepPlan no_slot = Plan(sequences, 8, 8, 0);
  EXPECT_THAT(no_slot.preempt, ElementsAre(3));
  EXPECT_THAT(Plan(sequences, 8, 8).preempt, IsEmpty());
}

TEST(SchedulerTest, AnIdleHolderStaysWhileSomethingRuns) {
  const StepPlan plan = Plan({Decode(1, 4), WaitingFork(2, 12, 4), Running(3, 8, 8)}, 8, 1);
  EXPECT_THAT(plan.preempt, IsEmpty());
  EXPECT_THAT(plan.chunks, ElementsAre(Whole(1, 3, 1)));
}

TEST(SchedulerTest, AnIdleHolderStaysForAYoungerOne) {
  EXPECT_THAT(Plan({Running(1, 4, 4), WaitingFork(2, 8, 4)}, 8, 0).preempt, IsEmpty());
}

}  // namespace
}  // namespace deltaserve
