#include "server/engine/engine.h"

#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

template <typename T>
absl::Status Fetch(Backend& backend, const TensorView& view, std::vector<T>& out) {
  out.resize(view.shape.NumElements());
  if (out.empty()) return absl::OkStatus();
  return backend.CopyToHost(out.data(), view.data, view.SizeBytes());
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
  RETURN_IF_ERROR(Fetch(*backend_, outputs.sampled_ids, results.sampled_ids));
  RETURN_IF_ERROR(Fetch(*backend_, outputs.target_logprobs, results.target_logprobs));
  RETURN_IF_ERROR(Fetch(*backend_, outputs.target_is_greedy, results.target_is_greedy));
  RETURN_IF_ERROR(Fetch(*backend_, outputs.top_ids, results.top_ids));
  RETURN_IF_ERROR(Fetch(*backend_, outputs.top_logprobs, results.top_logprobs));
  if (batch.wants_trace() && outputs.beta) {
    RETURN_IF_ERROR(Fetch(*backend_, outputs.beta, results.beta));
    RETURN_IF_ERROR(Fetch(*backend_, outputs.proj, results.proj));
    RETURN_IF_ERROR(Fetch(*backend_, outputs.v, results.v));
  }
  RETURN_IF_ERROR(backend_->Synchronize());
  return results;
}

}  // namespace deltaserve
