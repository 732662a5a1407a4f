#include "tests/support/model_harness.h"

#include <cstdio>
#include <cstdlib>

#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

void MustBeOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

// Entries [begin, begin + count) of the middle axis of [sites, tokens, width].
std::vector<float> SliceTokens(const std::vector<float>& all, int64_t sites, int64_t tokens,
                               int64_t begin, int64_t count) {
  if (all.empty()) return {};
  const int64_t width = all.size() / (sites * tokens);
  std::vector<float> slice;
  for (int64_t site = 0; site < sites; ++site) {
    const auto from = all.begin() + (site * tokens + begin) * width;
    slice.insert(slice.end(), from, from + count * width);
  }
  return slice;
}

std::vector<float> JoinTokens(const std::vector<float>& a, int64_t a_tokens,
                              const std::vector<float>& b, int64_t b_tokens, int64_t sites) {
  if (a.empty()) return b;
  const int64_t width = a.size() / (sites * a_tokens);
  std::vector<float> joined;
  for (int64_t site = 0; site < sites; ++site) {
    joined.insert(joined.end(), a.begin() + site * a_tokens * width,
                  a.begin() + (site + 1) * a_tokens * width);
    joined.insert(joined.end(), b.begin() + site * b_tokens * width,
                  b.begin() + (site + 1) * b_tokens * width);
  }
  return joined;
}

}  // namespace

void Append(ChunkOutputs& all, const ChunkOutputs& more, int64_t sites) {
  all.logits.insert(all.logits.end(), more.logits.begin(), more.logits.end());
  all.beta = JoinTokens(all.beta, all.num_tokens, more.beta, more.num_tokens, sites);
  all.proj = JoinTokens(all.proj, all.num_tokens, more.proj, more.num_tokens, sites);
  all.v = JoinTokens(all.v, all.num_tokens, more.v, more.num_tokens, sites);
  all.num_tokens += more.num_tokens;
}

absl::StatusOr<std::unique_ptr<ModelHarness>> ModelHarness::Load(
    std::unique_ptr<Backend> backend, const std::filesystem::path& model_dir, DType dtype,
    int64_t max_sequence_tokens) {
  auto harness = std::unique_ptr<ModelHarness>(new ModelHarness(std::move(backend)));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(model_dir));
  StepLimits limits;
  limits.max_tokens = 1024;
  limits.max_sequence_tokens = max_sequence_tokens;
  Backend& device = *harness->backend_;
  ASSIGN_OR_RETURN(harness->decoder_, Decoder::Load(device, checkpoint, dtype, limits));
  harness->pages_per_sequence_ =
      (max_sequence_tokens + device.page_tokens() - 1) / device.page_tokens();
  ASSIGN_OR_RETURN(
      harness->memory_,
      CacheMemory::Allocate(device, *harness->decoder_,
                            kMaxSequences * harness->pages_per_sequence_ + 1, kMaxSequences + 1));
  ASSIGN_OR_RETURN(harness->logits_,
                   device.Allocate(limits.max_tokens * checkpoint.config().vocab_size * 4));
  return harness;
}

std::vector<int32_t> ModelHarness::Pages(int64_t sequence) const {
  std::vector<int32_t> pages;
  for (int64_t i = 0; i < pages_per_sequence_; ++i) {
    const int64_t place = pages_per_sequence_ - 1 - i;
    pages.push_back(static_cast<int32_t>(1 + place * kMaxSequences + sequence));
  }
  return pages;
}

std::vector<ChunkOutputs> ModelHarness::Step(const std::vector<Chunk>& chunks) {
  StepBatch batch(*backend_, decoder_->stream().left_tokens());
  std::vector<std::vector<int32_t>> pages;
  for (const Chunk& chunk : chunks) pages.push_back(Pages(chunk.sequence));
  for (size_t i = 0; i < chunks.size(); ++i) {
    ChunkInput input;
    input.tokens = chunks[i].tokens;
    input.first = chunks[i].first;
    input.count = chunks[i].count;
    input.pages = pages[i];
    input.slot = static_cast<int32_t>(chunks[i].sequence + 1);
    const int64_t row = batch.AddChunk(input);
    for (int64_t t = 0; t < input.count; ++t) batch.AddLogitRow(row + t);
  }
  auto step = batch.Upload();
  MustBeOk(step.status());
  const int64_t tokens = step->batch.num_tokens;  // with padding, where the device wants it
  const int64_t vocab = decoder_->config().vocab_size;
  step->logits = logits_.View(DType::kF32, {tokens, vocab});
  const StepOutputs outputs = decoder_->Forward(*step, memory_.view());

  const auto fetch = [&](const TensorView& view) {
    std::vector<float> values(view ? view.shape.NumElements() : 0);
    if (view) MustBeOk(backend_->CopyToHost(values.data(), view.data, view.SizeBytes()));
    return values;
  };
  const std::vector<float> logits = fetch(step->logits);
  const std::vector<float> beta = fetch(outputs.beta);
  const std::vector<float> proj = fetch(outputs.proj);
  const std::vector<float> v = fetch(outputs.v);
  MustBeOk(backend_->Synchronize());

  std::vector<ChunkOutputs> all;
  int64_t begin = 0;
  const int64_t sites = 2 * decoder_->config().num_hidden_layers;
  for (const Chunk& chunk : chunks) {
    ChunkOutputs& own = all.emplace_back();
    own.num_tokens = chunk.count;
    own.logits.assign(logits.begin() + begin * vocab,
                      logits.begin() + (begin + chunk.count) * vocab);
    own.beta = SliceTokens(beta, sites, tokens, begin, chunk.count);
    own.proj = SliceTokens(proj, sites, tokens, begin, chunk.count);
    own.v = SliceTokens(v, sites, tokens, begin, chunk.count);
    begin += chunk.count;
  }
  return all;
}

ChunkOutputs ModelHarness::Forward(absl::Span<const int32_t> tokens,
                                   absl::Span<const int64_t> chunk_sizes, int64_t sequence) {
  ChunkOutputs all;
  int64_t first = 0;
  for (const int64_t count : chunk_sizes) {
    Append(all, Step({{sequence, tokens, first, count}})[0],
           2 * decoder_->config().num_hidden_layers);
    first += count;
  }
  return all;
}

ChunkOutputs ModelHarness::Forward(absl::Span<const int32_t> tokens, int64_t sequence) {
  return Forward(tokens, {static_cast<int64_t>(tokens.size())}, sequence);
}

std::vector<int32_t> ModelHarness::Greedy(absl::Span<const int32_t> prompt, int64_t num_tokens,
                                          int64_t sequence) {
  std::vector<int32_t> tokens(prompt.begin(), prompt.end());
  const std::vector<int32_t> pages = Pages(sequence);
  StepBatch batch(*backend_, decoder_->stream().left_tokens());
  int64_t computed = 0;
  for (int64_t i = 0; i < num_tokens; ++i) {
    batch.Clear();
    ChunkInput input;
    input.tokens = tokens;
    input.first = computed;
    input.count = static_cast<int64_t>(tokens.size()) - computed;
    input.last_id_on_device = i > 0;
    input.pages = pages;
    input.slot = static_cast<int32_t>(sequence + 1);
    batch.AddLogitRow(batch.AddChunk(input) + input.count - 1);
    SamplingRow row;
    row.temperature = 0;
    row.state_slot = input.slot;
    batch.AddSample(row, {});
    const auto step = batch.Upload();
    MustBeOk(step.status());
    const StepOutputs outputs = decoder_->Forward(*step, memory_.view());
    int32_t id = -1;
    MustBeOk(backend_->CopyToHost(&id, outputs.sampled_ids.data, 4));
    computed = tokens.size();
    tokens.push_back(id);
  }
  return std::vector<int32_t>(tokens.begin() + prompt.size(), tokens.end());
}

}  // namespace deltaserve
