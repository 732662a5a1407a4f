#include "server/engine/step_batch.h"

#include <algorithm>
#include <cstring>

#include "server/engine/step_shape.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMaxSections = 16;  // of the packed batch

}  // namespace

absl::Status StepBatch::Reserve(const StepSize& largest) {
  StepSize most = largest;
  if (recurring_shapes_) {
    const int64_t padding = DecodeBucket(most.sequences) - most.sequences;
    for (int64_t* count : {&most.tokens, &most.sequences, &most.samples, &most.targets}) {
      *count += padding;
    }
    most.pages_per_sequence = TableWidth(most.pages_per_sequence);
  }
  const int64_t per_token = 5;  // ids, positions, sequences; logit rows and their target offsets
  // Query and kv lengths, slots, one page copy and one slot copy; the page table, the ids to the
  // left.
  const int64_t per_sequence = 7 + most.pages_per_sequence + left_tokens_;
  const int64_t words = 2 + most.tokens * per_token + most.sequences * per_sequence + most.targets;
  const int64_t size_bytes = words * 4 + most.samples * static_cast<int64_t>(sizeof(SamplingRow)) +
                             most.edits * static_cast<int64_t>(sizeof(LogitEdit)) +
                             kMaxSections * kAlignment;
  packed_.reserve(size_bytes);
  ASSIGN_OR_RETURN(device_, backend_.Allocate(size_bytes));
  return absl::OkStatus();
}

void StepBatch::Clear() {
  for (std::vector<int32_t>* values :
       {&token_ids_, &positions_, &sequence_of_, &query_offsets_, &kv_len_, &state_slot_, &left_,
        &logit_rows_, &target_offsets_, &target_ids_, &page_copies_, &slot_copies_}) {
    values->clear();
  }
  pages_.clear();
  sampling_rows_.clear();
  edits_.clear();
  top_k_ = 0;
  wants_trace_ = false;
  padding_ = 0;
}

int64_t StepBatch::AddChunk(const ChunkInput& chunk) {
  const int64_t batch_row = num_tokens();
  const int64_t end = chunk.first + chunk.count;
  if (query_offsets_.empty()) query_offsets_.push_back(0);
  for (int64_t position = chunk.first; position < end; ++position) {
    token_ids_.push_back(chunk.tokens[position]);
    positions_.push_back(static_cast<int32_t>(position));
    sequence_of_.push_back(static_cast<int32_t>(num_sequences()));
  }
  if (chunk.last_id_on_device && end == static_cast<int64_t>(chunk.tokens.size())) {
    token_ids_.back() = -1;
  }
  for (int64_t position = chunk.first - left_tokens_; position < chunk.first; ++position) {
    left_.push_back(position < 0 ? -1 : chunk.tokens[position]);
  }
  query_offsets_.push_back(static_cast<int32_t>(num_tokens()));
  kv_len_.push_back(static_cast<int32_t>(end));
  pages_.push_back(chunk.pages);
  state_slot_.push_back(chunk.slot);
  return batch_row;
}

int64_t StepBatch::AddLogitRow(int64_t batch_row) {
  if (target_offsets_.empty()) target_offsets_.push_back(0);
  logit_rows_.push_back(static_cast<int32_t>(batch_row));
  target_offsets_.push_back(static_cast<int32_t>(target_ids_.size()));
  return num_logit_rows() - 1;
}

int64_t StepBatch::AddSample(SamplingRow row, absl::Span<const LogitEdit> edits) {
  row.logits_row = static_cast<int32_t>(num_logit_rows() - 1);
  row.edits_begin = static_cast<int32_t>(edits_.size());
  edits_.insert(edits_.end(), edits.begin(), edits.end());
  row.edits_end = static_cast<int32_t>(edits_.size());
  sampling_rows_.push_back(row);
  return static_cast<int64_t>(sampling_rows_.size()) - 1;
}

int64_t StepBatch::AddTarget(int32_t id) {
  target_ids_.push_back(id);
  target_offsets_.back() = static_cast<int32_t>(target_ids_.size());
  return static_cast<int64_t>(target_ids_.size()) - 1;
}

int64_t StepBatch::AddSampledTarget(int64_t sample) {
  return AddTarget(static_cast<int32_t>(-1 - sample));
}

void StepBatch::CopyPages(absl::Span<const std::pair<int32_t, int32_t>> pairs) {
  for (const auto& [from, to] : pairs) page_copies_.insert(page_copies_.end(), {from, to});
}

void StepBatch::CopySlots(absl::Span<const std::pair<int32_t, int32_t>> pairs) {
  for (const auto& [from, to] : pairs) slot_copies_.insert(slot_copies_.end(), {from, to});
}

void StepBatch::Pad() {
  const int64_t rows = num_tokens();
  if (padding_ > 0 || rows == 0 || rows != num_sequences()) return;
  const int64_t padding = DecodeBucket(rows) - rows;
  const bool has_logits = !logit_rows_.empty(), has_samples = !sampling_rows_.empty();
  const bool has_targets = !target_ids_.empty();
  const std::vector<int32_t> token = {0};
  for (int64_t n = 0; n < padding; ++n) {
    const int64_t row = AddChunk({.tokens = token, .first = 0, .count = 1, .pages = {}});
    if (has_logits) AddLogitRow(row);
    if (has_samples) AddSample({.temperature = 0}, {});
    if (has_targets) AddTarget(0);
  }
  padding_ = padding;
}

absl::StatusOr<Step> StepBatch::Upload() {
  if (recurring_shapes_) Pad();
  const auto tokens = static_cast<int64_t>(token_ids_.size());
  const auto sequences = static_cast<int64_t>(kv_len_.size());
  const auto rows = static_cast<int64_t>(logit_rows_.size());

  int64_t longest_table = 1;
  for (const auto& pages : pages_) longest_table = std::max<int64_t>(longest_table, pages.size());
  if (recurring_shapes_) longest_table = TableWidth(longest_table);
  std::vector<int32_t> page_table(sequences * longest_table, 0);
  for (int64_t s = 0; s < sequences; ++s) {
    std::copy(pages_[s].begin(), pages_[s].end(), page_table.begin() + s * longest_table);
  }

  // Lay the sections out first; the device memory may have to grow before views can be made.
  struct Section {
    TensorView* view;
    int64_t offset;
    Shape shape;
  };
  std::vector<Section> sections;
  packed_.clear();
  const auto pack = [&](TensorView& view, const void* data, int64_t size_bytes, Shape shape) {
    const int64_t offset =
        (static_cast<int64_t>(packed_.size()) + kAlignment - 1) / kAlignment * kAlignment;
    packed_.resize(offset + std::max<int64_t>(size_bytes, 4));
    if (size_bytes > 0) std::memcpy(packed_.data() + offset, data, size_bytes);
    sections.push_back({&view, offset, shape});
  };
  const auto pack_ids = [&](TensorView& view, const std::vector<int32_t>& ids, Shape shape) {
    pack(view, ids.data(), shape.NumElements() * 4, shape);
  };

  Step step;
  step.batch.num_tokens = tokens;
  step.batch.num_sequences = sequences;
  pack_ids(step.token_ids, token_ids_, {tokens});
  pack_ids(step.batch.positions, positions_, {tokens});
  pack_ids(step.batch.sequence_of, sequence_of_, {tokens});
  pack_ids(step.batch.query_offsets, query_offsets_, {sequences + 1});
  pack_ids(step.batch.kv_len, kv_len_, {sequences});
  pack_ids(step.batch.page_table, page_table, {sequences, longest_table});
  pack_ids(step.batch.state_slot, state_slot_, {sequences});
  if (left_tokens_ > 0) pack_ids(step.left_tokens, left_, {sequences, left_tokens_});
  pack_ids(step.logit_rows, logit_rows_, {rows});
  if (rows > 0) {
    pack_ids(step.target_offsets, target_offsets_, {rows + 1});
    pack_ids(step.target_ids, target_ids_, {static_cast<int64_t>(target_ids_.size())});
  }
  const auto pack_records = [&](TensorView& view, const auto& records) {
    constexpr int64_t kWords = sizeof(records[0]) / 4;
    pack(view, records.data(), records.size() * sizeof(records[0]),
         {static_cast<int64_t>(records.size()), kWords});
  };
  pack_records(step.sampling_rows, sampling_rows_);
  // What has a size of its own comes last, so that the rest stays in its place.
  if (!edits_.empty() || recurring_shapes_) pack_records(step.sampling_edits, edits_);
  if (!page_copies_.empty()) {
    pack_ids(step.page_copies, page_copies_, {static_cast<int64_t>(page_copies_.size() / 2), 2});
  }
  if (!slot_copies_.empty()) {
    pack_ids(step.slot_copies, slot_copies_, {static_cast<int64_t>(slot_copies_.size() / 2), 2});
  }

  const int64_t size_bytes = packed_.size();
  if (device_.size_bytes() < size_bytes) {
    ASSIGN_OR_RETURN(device_, backend_.Allocate(size_bytes * 2));
  }
  backend_.CopyToDevice(device_.data(), packed_.data(), size_bytes);
  for (const Section& section : sections) {
    *section.view = TensorView(static_cast<uint8_t*>(device_.data()) + section.offset, DType::kI32,
                               section.shape);
  }

  step.num_logit_rows = rows;
  step.h_sampling_rows = sampling_rows_;
  step.h_target_offsets = target_offsets_;
  step.top_k = top_k_;
  return step;
}

}  // namespace deltaserve
