#include "server/model/decoder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"
#include "server/model/tensor_specs.h"
#include "server/model/weight_loader.h"

namespace deltaserve {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

constexpr int64_t kSectionBytes = 64;  // what sections of a block begin at multiples of

// Views one after the other in a block of memory.
class Sections {
 public:
  explicit Sections(const Buffer& block) : block_(block) {}

  TensorView Next(DType dtype, const Shape& shape) {
    const TensorView view(static_cast<char*>(block_.data()) + used_bytes_, dtype, shape);
    used_bytes_ += RoundUp(view.SizeBytes(), kSectionBytes);
    return view;
  }
  // All of them.
  TensorView block() const { return block_.View(DType::kI32, {used_bytes_ / 4}); }

 private:
  const Buffer& block_;
  int64_t used_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(Backend& backend,
                                                       const Checkpoint& checkpoint, DType dtype,
                                                       const StepLimits& limits) {
  if (!backend.Supports(dtype)) {
    return absl::FailedPreconditionError(absl::StrCat("device ", std::string(backend.device()),
                                                      " does not compute in ",
                                                      std::string(Name(dtype))));
  }
  auto decoder = std::unique_ptr<Decoder>(new Decoder(backend, checkpoint.config(), dtype, limits));
  const int64_t context = checkpoint.config().block_size;
  int64_t& longest = decoder->limits_.max_sequence_tokens;
  longest = longest == 0 ? context : std::min(longest, context);
  RETURN_IF_ERROR(decoder->LoadWeights(checkpoint));
  RETURN_IF_ERROR(decoder->AllocateActivations());
  RETURN_IF_ERROR(backend.Synchronize());
  return decoder;
}

absl::Status Decoder::LoadWeights(const Checkpoint& checkpoint) {
  const WeightLoader loader(backend_, checkpoint, dtype_);
  ASSIGN_OR_RETURN(rope_, RopeTables::Make(config_, limits_.max_sequence_tokens, loader));
  ASSIGN_OR_RETURN(wte_, loader.LoadTable(kEmbeddingName));
  ASSIGN_OR_RETURN(head_, loader.LoadLinear({kEmbeddingName}));
  ASSIGN_OR_RETURN(stream_, LoadResidualStream(config_, loader));
  for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    ASSIGN_OR_RETURN(
        Attention attention,
        Attention::Load(config_, layer, stream_->GateHiddenWeight({layer, false}), rope_, loader));
    ASSIGN_OR_RETURN(Mlp mlp,
                     Mlp::Load(config_, layer, stream_->GateHiddenWeight({layer, true}), loader));
    blocks_.push_back({std::move(attention), std::move(mlp)});
  }
  weight_bytes_ = checkpoint.num_parameters() * SizeBytes(dtype_);
  return absl::OkStatus();
}

absl::Status Decoder::AllocateActivations() {
  const StepTraits traits = backend_.step_traits();
  logit_tile_ = std::min(traits.logit_rows, limits_.max_tokens);
  hidden_stride_ = RoundUp(config_.MlpWidth(), traits.row_alignment);
  const int64_t t = limits_.max_tokens;
  const int64_t d = config_.hidden_size;
  const int64_t element = SizeBytes(dtype_);
  const int64_t sites = 2 * config_.num_hidden_layers;
  const int64_t d_v = stream_->value_channels();
  int64_t widest = 0;
  for (const Block& block : blocks_) {
    widest = std::max({widest, block.attention.projected_width(), block.mlp.projected_width()});
  }

  Activations& a = activations_;
  const auto reserve = [&](Buffer& buffer, int64_t size_bytes) -> absl::Status {
    ASSIGN_OR_RETURN(buffer, backend_.Allocate(std::max<int64_t>(size_bytes, 1)));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(reserve(a.state[0], t * d_v * d * 4));
  if (stream_->needs_second_state()) RETURN_IF_ERROR(reserve(a.state[1], t * d_v * d * 4));
  RETURN_IF_ERROR(reserve(a.c, t * d * element));
  RETURN_IF_ERROR(reserve(a.h, t * d * 4));
  RETURN_IF_ERROR(reserve(a.projected, t * widest * 4));
  RETURN_IF_ERROR(reserve(a.y, t * config_.attention_width() * element));
  RETURN_IF_ERROR(reserve(a.hidden, t * hidden_stride_ * element));
  if (stream_->has_gate()) {
    RETURN_IF_ERROR(reserve(a.gates, sites * t * (1 + 2 * d_v) * 4 + 3 * kSectionBytes));
  }
  RETURN_IF_ERROR(reserve(a.rows, logit_tile_ * d * element));
  RETURN_IF_ERROR(reserve(a.logits, logit_tile_ * config_.vocab_size * 4));
  const int64_t words = limits_.max_sampled + 2 * limits_.max_targets + 2 * t * kMaxAlternatives;
  RETURN_IF_ERROR(reserve(a.results, words * 4 + 5 * kSectionBytes));
  return absl::OkStatus();
}

CacheSizes Decoder::cache_sizes() const {
  CacheSizes sizes;
  sizes.page_bytes_per_layer = KvShape(1).NumElements() * SizeBytes(dtype_);
  sizes.num_layers = config_.num_hidden_layers;
  sizes.tail_calls = stream_->tail_calls();
  sizes.tail_rows = stream_->tail_rows();
  sizes.hidden_size = config_.hidden_size;
  return sizes;
}

Shape Decoder::KvShape(int64_t num_pages) const {
  return {num_pages, 2, config_.num_attention_heads, backend_.page_tokens() * config_.head_dim};
}

Shape Decoder::TailsShape(int64_t num_slots) const {
  if (stream_->tail_calls() == 0) return {};
  return {num_slots, stream_->tail_calls(), stream_->tail_rows(), config_.hidden_size};
}

StepOutputs Decoder::Forward(const Step& step, const CacheView& cache) {
  const Activations& a = activations_;
  const int64_t t = step.batch.num_tokens;
  const int64_t sites = 2 * config_.num_hidden_layers;
  const int64_t d_v = stream_->value_channels();

  StepOutputs outputs;
  Sections results(a.results);
  outputs.sampled_ids =
      results.Next(DType::kI32, {static_cast<int64_t>(step.h_sampling_rows.size())});
  const int64_t num_targets = step.h_target_offsets.empty() ? 0 : step.h_target_offsets.back();
  outputs.target_logprobs = results.Next(DType::kF32, {num_targets});
  outputs.target_is_greedy = results.Next(DType::kI32, {num_targets});
  outputs.top_ids = results.Next(DType::kI32, {step.num_logit_rows, step.top_k});
  outputs.top_logprobs = results.Next(DType::kF32, {step.num_logit_rows, step.top_k});
  outputs.results = results.block();
  if (stream_->has_gate()) {
    Sections gates(a.gates);
    outputs.beta = gates.Next(DType::kF32, {sites, t});
    outputs.proj = gates.Next(DType::kF32, {sites, t, d_v});
    outputs.v = gates.Next(DType::kF32, {sites, t, d_v});
    outputs.gates = gates.block();
  }

  SublayerIo io;
  io.c = a.c.View(dtype_, {t, config_.hidden_size});
  io.h = a.h.View(DType::kF32, {t, config_.hidden_size});
  io.beta = outputs.beta;
  io.proj = outputs.proj;
  io.v = outputs.v;

  ForkCaches(step, cache);
  Blocks(step, cache, io);
  Logits(step, cache, outputs);
  return outputs;
}

void Decoder::ForkCaches(const Step& step, const CacheView& cache) {
  if (step.page_copies) {
    for (const TensorView& kv : cache.kv) backend_.CopyRows({kv, step.page_copies});
  }
  if (step.slot_copies) {
    backend_.CopyRows({cache.last_ids, step.slot_copies});
    if (cache.tails) backend_.CopyRows({cache.tails, step.slot_copies});
  }
}

void Decoder::Blocks(const Step& step, const CacheView& cache, SublayerIo& io) {
  const Activations& a = activations_;
  const int64_t t = step.batch.num_tokens;
  const Shape state_shape = {t, stream_->value_channels(), config_.hidden_size};
  TensorView src = a.state[0].View(DType::kF32, state_shape);
  TensorView dst = stream_->needs_second_state() ? a.state[1].View(DType::kF32, state_shape) : src;
  const TensorView y = a.y.View(dtype_, {t, config_.attention_width()});
  TensorView hidden = a.hidden.View(dtype_, {t, config_.MlpWidth()});
  hidden.row_stride = hidden_stride_;  // what is between rows was zeroed when it was allocated

  stream_->Begin(step, cache, wte_.view, src, io);
  const int64_t num_layers = config_.num_hidden_layers;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const Block& block = blocks_[layer];
    const TensorView next_kv = layer + 1 < num_layers ? cache.kv[layer + 1] : TensorView();
    block.attention.Forward(step, cache.kv[layer], next_kv, io,
                            a.projected.View(DType::kF32, {t, block.attention.projected_width()}),
                            y);
    stream_->Cross(step, cache, {layer, false}, {layer, true}, io, src, dst);
    std::swap(src, dst);
    block.mlp.Forward(io, a.projected.View(DType::kF32, {t, block.mlp.projected_width()}), hidden);
    if (layer + 1 < num_layers) {
      stream_->Cross(step, cache, {layer, true}, {layer + 1, false}, io, src, dst);
    } else {
      stream_->Finish(step, cache, {layer, true}, io, src, dst);
    }
    std::swap(src, dst);
  }
}

void Decoder::Logits(const Step& step, const CacheView& cache, const StepOutputs& outputs) {
  const Activations& a = activations_;
  const TensorView final_norm = a.c.View(dtype_, {step.batch.num_tokens, config_.hidden_size});
  const int64_t num_sampled = step.h_sampling_rows.size();
  int64_t sampled = 0;
  // In tiles, so that scoring a long prompt never takes a [T, V] block.
  for (int64_t row = 0; row < step.num_logit_rows; row += logit_tile_) {
    const int64_t rows = std::min(logit_tile_, step.num_logit_rows - row);
    const TensorView gathered = a.rows.View(dtype_, {rows, config_.hidden_size});
    const TensorView logits = step.logits ? step.logits.Rows(row, rows)
                                          : a.logits.View(DType::kF32, {rows, config_.vocab_size});
    backend_.GatherRows({final_norm, step.logit_rows.Rows(row, rows), gathered});
    backend_.Linear({head_.get(), gathered, logits});

    int64_t sampled_end = sampled;
    while (sampled_end < num_sampled && step.h_sampling_rows[sampled_end].logits_row < row + rows) {
      ++sampled_end;
    }
    if (sampled_end > sampled) {
      SampleParams sample;
      sample.logits = logits;
      sample.first_row = row;
      sample.num_rows = sampled_end - sampled;
      sample.rows = step.sampling_rows.Rows(sampled, sample.num_rows);
      sample.edits = step.sampling_edits;
      sample.sampled_ids = outputs.sampled_ids.Rows(sampled, sample.num_rows);
      sample.last_ids = cache.last_ids;
      backend_.Sample(sample);
      sampled = sampled_end;
    }

    const int64_t first_target = step.h_target_offsets[row];
    const int64_t num_targets = step.h_target_offsets[row + rows] - first_target;
    if (num_targets > 0) {
      LogProbsParams log_probs;
      log_probs.logits = logits;
      log_probs.target_offsets = step.target_offsets.Rows(row, rows + 1);
      log_probs.target_ids = step.target_ids.Rows(first_target, num_targets);
      log_probs.sampled_ids = outputs.sampled_ids;
      log_probs.target_logprobs = outputs.target_logprobs.Rows(first_target, num_targets);
      log_probs.target_is_greedy = outputs.target_is_greedy.Rows(first_target, num_targets);
      log_probs.top_k = step.top_k;
      if (step.top_k > 0) {
        log_probs.top_ids = outputs.top_ids.Rows(row, rows);
        log_probs.top_logprobs = outputs.top_logprobs.Rows(row, rows);
      }
      backend_.LogProbs(log_probs);
    }
  }
}

}  // namespace deltaserve
