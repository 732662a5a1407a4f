// A decoder with a cache of its own, for tests that look at logits: any chunking, any mix of
// sequences, any backend.
#ifndef DELTASERVE_TESTS_SUPPORT_MODEL_HARNESS_H_
#define DELTASERVE_TESTS_SUPPORT_MODEL_HARNESS_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/cache_memory.h"
#include "server/engine/step_batch.h"
#include "server/model/decoder.h"

namespace deltaserve {

// What a forward pass says of one run of tokens.
struct ChunkOutputs {
  int64_t num_tokens = 0;
  std::vector<float> logits;         // [T, V]
  std::vector<float> beta, proj, v;  // [2L, T], [2L, T, d_v]: as FORMAT.md 1.3 flattens them
};

// Every sequence has a slot and a page range of its own, shuffled so that neighbours are not.
// Errors are fatal to the process: this is for tests.
class ModelHarness {
 public:
  static constexpr int64_t kMaxSequences = 20;

  static absl::StatusOr<std::unique_ptr<ModelHarness>> Load(std::unique_ptr<Backend> backend,
                                                            const std::filesystem::path& model_dir,
                                                            DType dtype,
                                                            int64_t max_sequence_tokens);

  // One step over chunks {sequence, tokens from position 0, first, count}.
  struct Chunk {
    int64_t sequence = 0;
    absl::Span<const int32_t> tokens;
    int64_t first = 0;
    int64_t count = 0;
  };
  std::vector<ChunkOutputs> Step(const std::vector<Chunk>& chunks);

  // One sequence, cut into chunks of the given sizes, as one.
  ChunkOutputs Forward(absl::Span<const int32_t> tokens, absl::Span<const int64_t> chunk_sizes,
                       int64_t sequence = 0);
  ChunkOutputs Forward(absl::Span<const int32_t> tokens, int64_t sequence = 0);
  // Greedy, one token a step, from the last id on the device.
  std::vector<int32_t> Greedy(absl::Span<const int32_t> prompt, int64_t num_tokens,
                              int64_t sequence = 0);

  const Decoder& decoder() const { return *decoder_; }

 private:
  explicit ModelHarness(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::vector<int32_t> Pages(int64_t sequence) const;

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  CacheMemory memory_;
  int64_t pages_per_sequence_ = 0;
  Buffer logits_;
};

// Appends `more` to `all`, along the token axis.
void Append(ChunkOutputs& all, const ChunkOutputs& more, int64_t sites);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_MODEL_HARNESS_H_
