#include "server/engine/step_batch.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/device_like_backend.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The reference backend's memory is the host's.
std::vector<int32_t> Ids(const TensorView& view) {
  if (!view) return {};
  return {view.As<int32_t>(), view.As<int32_t>() + view.shape.NumElements()};
}

class StepBatchTest : public testing::Test {
 protected:
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
  StepBatch batch_{*backend_, /*left_tokens=*/3};
  const std::vector<int32_t> tokens_ = {10, 11, 12, 13, 14, 15};
  const std::vector<int32_t> pages_ = {4, 9};
};

TEST_F(StepBatchTest, LaysChunksOutOneAfterTheOther) {
  EXPECT_EQ(batch_.AddChunk({tokens_, 0, 2, false, {pages_.data(), 1}, 3}), 0);
  EXPECT_EQ(batch_.AddChunk({tokens_, 4, 2, false, pages_, 1}), 2);
  EXPECT_EQ(batch_.AddChunk({tokens_, 5, 1, true, pages_, 2}), 4);
  const absl::StatusOr<Step> step = batch_.Upload();
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->batch.num_tokens, 5);
  EXPECT_EQ(step->batch.num_sequences, 3);
  EXPECT_THAT(Ids(step->token_ids), ElementsAre(10, 11, 14, 15, -1));
  EXPECT_THAT(Ids(step->batch.positions), ElementsAre(0, 1, 4, 5, 5));
  EXPECT_THAT(Ids(step->batch.sequence_of), ElementsAre(0, 0, 1, 1, 2));
  EXPECT_THAT(Ids(step->batch.query_offsets), ElementsAre(0, 2, 4, 5));
  EXPECT_THAT(Ids(step->batch.kv_len), ElementsAre(2, 6, 6));
  EXPECT_THAT(Ids(step->batch.state_slot), ElementsAre(3, 1, 2));
  // Shorter tables end in the padding page.
  EXPECT_EQ(step->batch.page_table.shape, (Shape{3, 2}));
  EXPECT_THAT(Ids(step->batch.page_table), ElementsAre(4, 0, 4, 9, 4, 9));
  // Ids before the run; -1 before the sequence.
  EXPECT_THAT(Ids(step->left_tokens), ElementsAre(-1, -1, -1, 11, 12, 13, 12, 13, 14));
}

TEST_F(StepBatchTest, OnlyTheLastIdIsTheDevices) {
  batch_.AddChunk({tokens_, 2, 2, true, pages_, 1});  // does not reach it
  batch_.AddChunk({tokens_, 2, 4, true, pages_, 2});
  const absl::StatusOr<Step> step = batch_.Upload();
  EXPECT_THAT(Ids(step->token_ids), ElementsAre(12, 13, 12, 13, 14, -1));
}

TEST_F(StepBatchTest, RowsSamplesAndTargets) {
  batch_.AddChunk({tokens_, 0, 4, false, pages_, 1});
  batch_.AddChunk({tokens_, 5, 1, false, pages_, 2});
  EXPECT_EQ(batch_.AddLogitRow(1), 0);
  EXPECT_EQ(batch_.AddTarget(12), 0);
  EXPECT_EQ(batch_.AddLogitRow(3), 1);
  EXPECT_EQ(batch_.AddTarget(7), 1);
  EXPECT_EQ(batch_.AddTarget(8), 2);
  EXPECT_EQ(batch_.AddLogitRow(4), 2);
  LogitEdit edit;
  edit.id = 5;
  EXPECT_EQ(batch_.AddSample({}, {}), 0);
  EXPECT_EQ(batch_.AddSample({}, {edit, edit}), 1);
  EXPECT_EQ(batch_.AddSampledTarget(1), 3);
  batch_.WantAlternatives(2);
  batch_.WantAlternatives(1);
  EXPECT_FALSE(batch_.wants_trace());
  batch_.WantTrace();
  EXPECT_TRUE(batch_.wants_trace());

  const absl::StatusOr<Step> step = batch_.Upload();
  EXPECT_THAT(Ids(step->logit_rows), ElementsAre(1, 3, 4));
  EXPECT_EQ(step->num_logit_rows, 3);
  EXPECT_THAT(Ids(step->target_offsets), ElementsAre(0, 1, 3, 4));
  EXPECT_THAT(Ids(step->target_ids), ElementsAre(12, 7, 8, -2));
  EXPECT_THAT(step->h_target_offsets, ElementsAre(0, 1, 3, 4));
  EXPECT_EQ(step->top_k, 2);
  ASSERT_EQ(step->h_sampling_rows.size(), 2u);
  EXPECT_EQ(step->h_sampling_rows[0].logits_row, 2);
  EXPECT_EQ(step->h_sampling_rows[0].edits_end, 0);
  EXPECT_EQ(step->h_sampling_rows[1].edits_end, 2);
  EXPECT_EQ(step->sampling_rows.As<SamplingRow>()[1].logits_row, 2);
  EXPECT_EQ(step->sampling_edits.As<LogitEdit>()[1].id, 5);
}

TEST_F(StepBatchTest, ForksAreCopiesOfRows) {
  batch_.AddChunk({tokens_, 0, 1, false, pages_, 1});
  batch_.CopyPages({{4, 5}, {6, 7}});
  batch_.CopySlots({{1, 2}});
  const absl::StatusOr<Step> step = batch_.Upload();
  EXPECT_EQ(step->page_copies.shape, (Shape{2, 2}));
  EXPECT_THAT(Ids(step->page_copies), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(Ids(step->slot_copies), ElementsAre(1, 2));
}

TEST_F(StepBatchTest, ClearedItIsEmpty) {
  batch_.AddChunk({tokens_, 0, 6, false, pages_, 1});
  batch_.AddLogitRow(5);
  batch_.AddSample({}, {LogitEdit()});
  batch_.AddTarget(3);
  batch_.CopyPages({{4, 5}});
  batch_.CopySlots({{1, 2}});
  batch_.WantAlternatives(3);
  batch_.WantTrace();
  batch_.Clear();
  batch_.AddChunk({tokens_, 1, 1, false, pages_, 2});
  const absl::StatusOr<Step> step = batch_.Upload();
  EXPECT_THAT(Ids(step->token_ids), ElementsAre(11));
  EXPECT_EQ(step->num_logit_rows, 0);
  EXPECT_FALSE(step->page_copies);
  EXPECT_FALSE(step->slot_copies);
  EXPECT_FALSE(step->sampling_edits);
  EXPECT_THAT(step->h_sampling_rows, IsEmpty());
  EXPECT_EQ(step->top_k, 0);
  EXPECT_FALSE(batch_.wants_trace());
}

// On a device that wants steps to recur: a step of single tokens is as large as the next power of
// two says, and all that steps of that size share is in the same places.
class RecurringStepBatchTest : public testing::Test {
 protected:
  absl::StatusOr<Step> Decode(int sequences, int64_t pages_each) {
    batch_.Clear();
    pages_.assign(pages_each, 6);
    for (int s = 0; s < sequences; ++s) {
      batch_.AddLogitRow(batch_.AddChunk({tokens_, 5, 1, false, pages_, s + 1}));
      batch_.AddSample({.temperature = 1}, {});
    }
    return batch_.Upload();
  }

  DeviceLikeBackend backend_{1 << 20};
  StepBatch batch_{backend_, /*left_tokens=*/3};
  const std::vector<int32_t> tokens_ = {10, 11, 12, 13, 14, 15};
  std::vector<int32_t> pages_;
};

TEST_F(RecurringStepBatchTest, PadsStepsOfSingleTokens) {
  const absl::StatusOr<Step> step = Decode(3, 2);
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(batch_.num_tokens(), 3);
  EXPECT_EQ(batch_.num_sequences(), 3);
  EXPECT_EQ(batch_.num_logit_rows(), 3);
  EXPECT_EQ(batch_.num_samples(), 3);
  EXPECT_EQ(batch_.num_targets(), 0);
  EXPECT_EQ(step->batch.num_tokens, 4);
  EXPECT_EQ(step->batch.num_sequences, 4);
  EXPECT_THAT(Ids(step->token_ids), ElementsAre(15, 15, 15, 0));
  EXPECT_THAT(Ids(step->batch.positions), ElementsAre(5, 5, 5, 0));
  EXPECT_THAT(Ids(step->batch.state_slot), ElementsAre(1, 2, 3, 0));
  EXPECT_THAT(Ids(step->logit_rows), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(step->batch.page_table.shape, (Shape{4, 8}));
  ASSERT_EQ(step->h_sampling_rows.size(), 4u);
  EXPECT_EQ(step->h_sampling_rows[3].logits_row, 3);
}

TEST_F(RecurringStepBatchTest, WhatComesAgainIsInItsPlace) {
  ASSERT_TRUE(
      batch_.Reserve({.tokens = 8, .sequences = 8, .pages_per_sequence = 20, .samples = 8}).ok());
  const absl::StatusOr<Step> first = Decode(5, 3);
  const absl::StatusOr<Step> second = Decode(7, 8);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto same = [](const TensorView& a, const TensorView& b) {
    return a.data == b.data && a.shape == b.shape;
  };
  EXPECT_TRUE(same(first->token_ids, second->token_ids));
  EXPECT_TRUE(same(first->batch.page_table, second->batch.page_table));
  EXPECT_TRUE(same(first->batch.state_slot, second->batch.state_slot));
  EXPECT_TRUE(same(first->left_tokens, second->left_tokens));
  EXPECT_TRUE(same(first->logit_rows, second->logit_rows));
  EXPECT_TRUE(same(first->sampling_rows, second->sampling_rows));
  EXPECT_EQ(first->sampling_edits.data, second->sampling_edits.data);
  EXPECT_EQ(backend_.num_allocations(), 1);
}

TEST_F(RecurringStepBatchTest, RunsOfTokensAreLeftAsTheyAre) {
  pages_.assign(1, 4);
  batch_.AddChunk({tokens_, 0, 2, false, pages_, 1});
  batch_.AddChunk({tokens_, 0, 1, false, pages_, 2});
  batch_.AddChunk({tokens_, 0, 1, false, pages_, 3});
  const absl::StatusOr<Step> step = batch_.Upload();
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->batch.num_tokens, 4);
  EXPECT_EQ(step->batch.num_sequences, 3);
}

}  // namespace
}  // namespace deltaserve
