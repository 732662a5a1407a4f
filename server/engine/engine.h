// Runs steps of one model: batch in, results out. Of requests, plans and the queue it knows
// nothing.
#ifndef DELTASERVE_SERVER_ENGINE_ENGINE_H_
#define DELTASERVE_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/engine/cache_memory.h"
#include "server/engine/step_batch.h"
#include "server/model/decoder.h"

namespace deltaserve {

// What came out of a step, on the host. Indices are those StepBatch returned.
struct StepResults {
  std::vector<int32_t> sampled_ids;
  std::vector<float> target_logprobs;
  std::vector<int32_t> target_is_greedy;
  int64_t top_k = 0;
  std::vector<int32_t> top_ids;     // [R, top_k]
  std::vector<float> top_logprobs;  // [R, top_k]
  // Only where the batch wants the trace: of the T tokens of the batch.
  std::vector<float> beta;  // [2L, T]
  std::vector<float> proj;  // [2L, T, d_v]
  std::vector<float> v;     // [2L, T, d_v]
};

// Not thread-safe. The backend must outlive it.
class Engine {
 public:
  static absl::StatusOr<Engine> Make(Backend& backend, std::unique_ptr<Decoder> decoder,
                                     int64_t num_pages, int64_t num_slots);

  const Decoder& decoder() const { return *decoder_; }
  int64_t cache_bytes() const { return memory_.size_bytes(); }
  StepBatch MakeBatch() const { return StepBatch(*backend_, decoder_->stream().left_tokens()); }

  // Runs the batch and waits for it. An error is a fault of the device: nothing can be said of the
  // cache any more.
  absl::StatusOr<StepResults> Run(StepBatch& batch);

 private:
  Engine(Backend& backend, std::unique_ptr<Decoder> decoder, CacheMemory memory)
      : backend_(&backend), decoder_(std::move(decoder)), memory_(std::move(memory)) {}

  Backend* backend_;
  std::unique_ptr<Decoder> decoder_;
  CacheMemory memory_;
  std::vector<char> fetched_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_ENGINE_H_
