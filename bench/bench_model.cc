#include "bench/bench_model.h"

#include <algorithm>
#include <utility>

#include "bench/stopwatch.h"
#include "server/engine/step_shape.h"
#include "server/model/assign_or_return.h"
#include "server/model/checkpoint.h"

namespace deltaserve::bench {
namespace {

int64_t PagesFor(int64_t num_tokens, int64_t page_tokens) {
  return (num_tokens + page_tokens - 1) / page_tokens;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BenchModel>> BenchModel::Load(MeteredBackend& backend,
                                                             const std::filesystem::path& dir,
                                                             DType dtype, const Sizes& sizes) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(dir));
  StepLimits limits;
  const int64_t max_rows = PaddedRows(backend.step_traits(), sizes.max_batch);
  limits.max_tokens = std::max(sizes.max_prefill, max_rows);
  limits.max_sampled = max_rows;
  limits.max_targets = 1;
  ASSIGN_OR_RETURN(std::unique_ptr<Decoder> decoder,
                   Decoder::Load(backend, checkpoint, dtype, limits));
  const int64_t page_tokens = backend.page_tokens();
  const int64_t num_pages = 1 + sizes.max_batch * PagesFor(sizes.context, page_tokens) +
                            PagesFor(sizes.max_prefill, page_tokens);
  ASSIGN_OR_RETURN(Engine engine,
                   Engine::Make(backend, std::move(decoder), num_pages, sizes.max_batch + 2));
  auto model = std::unique_ptr<BenchModel>(new BenchModel(backend, std::move(engine), sizes));
  for (int64_t i = 0; i < sizes.max_batch; ++i) {
    model->decoding_.push_back(model->MakeSequence(sizes.context));
    RETURN_IF_ERROR(model->FillContext(model->decoding_.back()));
  }
  model->prompt_ = model->MakeSequence(sizes.max_prefill);
  return model;
}

BenchModel::BenchModel(MeteredBackend& backend, Engine engine, const Sizes& sizes)
    : backend_(backend), engine_(std::move(engine)), sizes_(sizes), batch_(engine_.MakeBatch()) {}

BenchModel::Sequence BenchModel::MakeSequence(int64_t num_tokens) {
  const int64_t vocab_size = engine_.decoder().config().vocab_size;
  Sequence sequence;
  for (int64_t i = 0; i < num_tokens; ++i) {
    sequence.tokens.push_back(static_cast<int32_t>(random_() % vocab_size));
  }
  const int64_t num_pages = PagesFor(num_tokens, backend_.page_tokens());
  for (int64_t i = 0; i < num_pages; ++i) sequence.pages.push_back(next_page_++);
  sequence.slot = next_slot_++;
  return sequence;
}

absl::Status BenchModel::FillContext(const Sequence& sequence) {
  const int64_t end = sizes_.context - 1;
  for (int64_t first = 0; first < end; first += sizes_.max_prefill) {
    batch_.Clear();
    Add(sequence, first, std::min(sizes_.max_prefill, end - first), false);
    RETURN_IF_ERROR(engine_.Run(batch_).status());
  }
  return absl::OkStatus();
}

void BenchModel::Add(const Sequence& sequence, int64_t first, int64_t count,
                     bool last_id_on_device) {
  ChunkInput chunk;
  chunk.tokens = sequence.tokens;
  chunk.first = first;
  chunk.count = count;
  chunk.last_id_on_device = last_id_on_device;
  chunk.pages = sequence.pages;
  chunk.slot = sequence.slot;
  batch_.AddLogitRow(batch_.AddChunk(chunk) + count - 1);
  SamplingRow row;
  row.temperature = 0;
  row.position = static_cast<int32_t>(first + count);
  row.state_slot = sequence.slot;
  batch_.AddSample(row, {});
}

absl::StatusOr<double> BenchModel::Decode(int64_t batch, int64_t context) {
  const Stopwatch stopwatch;
  batch_.Clear();
  for (int64_t i = 0; i < batch; ++i) Add(decoding_[i], context - 1, 1, true);
  RETURN_IF_ERROR(engine_.Run(batch_).status());
  return stopwatch.Seconds();
}

absl::StatusOr<double> BenchModel::Prefill(int64_t num_tokens) {
  const Stopwatch stopwatch;
  batch_.Clear();
  Add(prompt_, 0, num_tokens, false);
  RETURN_IF_ERROR(engine_.Run(batch_).status());
  return stopwatch.Seconds();
}

absl::StatusOr<StepWork> BenchModel::DecodeWork(int64_t batch) {
  backend_.Reset();
  RETURN_IF_ERROR(Decode(batch).status());
  return Work(batch * sizes_.context);
}

absl::StatusOr<StepWork> BenchModel::PrefillWork(int64_t num_tokens) {
  backend_.Reset();
  RETURN_IF_ERROR(Prefill(num_tokens).status());
  return Work(num_tokens);
}

StepWork BenchModel::Work(int64_t kv_tokens) const {
  const ModelConfig& config = engine_.decoder().config();
  const int64_t bytes_per_token = config.num_hidden_layers * 2 * config.attention_width() *
                                  SizeBytes(engine_.decoder().dtype());
  return {backend_.work(), kv_tokens * bytes_per_token};
}

}  // namespace deltaserve::bench
