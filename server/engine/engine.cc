#include "server/engine/engine.h"

#include <cstring>

#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

// A block of the device's memory and its copy on the host.
struct Fetched {
  const TensorView& block;
  const std::vector<char>& bytes;

  // The first `count` entries of a view of the block.
  template <typename T>
  std::vector<T> First(int64_t count, const TensorView& view) const {
    std::vector<T> values(count);
    const int64_t offset = view.As<char>() - block.As<char>();
    if (count > 0) std::memcpy(values.data(), bytes.data() + offset, count * sizeof(T));
    return values;
  }
};

// Of `padded` tokens in the middle of [sites, tokens, width], the first `tokens`.
std::vector<float> WithoutPadding(std::vector<float> values, int64_t padded, int64_t tokens,
                                  int64_t width) {
  if (padded == tokens) return values;
  const int64_t sites = static_cast<int64_t>(values.size()) / (padded * width);
  for (int64_t site = 1; site < sites; ++site) {
    std::memmove(values.data() + site * tokens * width, values.data() + site * padded * width,
                 tokens * width * sizeof(float));
  }
  values.resize(sites * tokens * width);
  return values;
}

// Waits for the step, also where it leaves nothing.
absl::Status Fetch(Backend& backend, const TensorView& block, std::vector<char>& bytes) {
  bytes.resize(block.SizeBytes());
  if (bytes.empty()) return backend.Synchronize();
  return backend.CopyToHost(bytes.data(), block.data, block.SizeBytes());
}

}  // namespace

absl::StatusOr<Engine> Engine::Make(Backend& backend, std::unique_ptr<Decoder> decoder,
                                    int64_t num_pages, int64_t num_slots) {
  ASSIGN_OR_RETURN(CacheMemory memory,
                   CacheMemory::Allocate(backend, *decoder, num_pages, num_slots));
  return Engine(backend, std::move(decoder), std::move(memory));
}

absl::StatusOr<StepResults> Engine::Run(StepBatch& batch) {
  ASSIGN_OR_RETURN(const Step step, batch.Upload());
  const StepOutputs outputs = decoder_->Forward(step, memory_.view());
  StepResults results;
  results.top_k = step.top_k;
  RETURN_IF_ERROR(Fetch(*backend_, outputs.results, fetched_));
  const Fetched fetched = {outputs.results, fetched_};
  const int64_t num_alternatives = batch.num_logit_rows() * step.top_k;
  results.sampled_ids = fetched.First<int32_t>(batch.num_samples(), outputs.sampled_ids);
  results.target_logprobs = fetched.First<float>(batch.num_targets(), outputs.target_logprobs);
  results.target_is_greedy = fetched.First<int32_t>(batch.num_targets(), outputs.target_is_greedy);
  results.top_ids = fetched.First<int32_t>(num_alternatives, outputs.top_ids);
  results.top_logprobs = fetched.First<float>(num_alternatives, outputs.top_logprobs);
  if (batch.wants_trace() && outputs.gates) {
    RETURN_IF_ERROR(Fetch(*backend_, outputs.gates, fetched_));
    const Fetched gates = {outputs.gates, fetched_};
    const auto take = [&](const TensorView& view, int64_t width) {
      return WithoutPadding(gates.First<float>(view.shape.NumElements(), view),
                            step.batch.num_tokens, batch.num_tokens(), width);
    };
    results.beta = take(outputs.beta, 1);
    results.proj = take(outputs.proj, outputs.proj.dim(2));
    results.v = take(outputs.v, outputs.v.dim(2));
  }
  RETURN_IF_ERROR(backend_->Synchronize());
  return results;
}

}  // namespace deltaserve
