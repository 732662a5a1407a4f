// A model with sequences of a fixed length in its cache, and the two steps that are measured.
#ifndef DELTASERVE_BENCH_BENCH_MODEL_H_
#define DELTASERVE_BENCH_BENCH_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/metered_backend.h"
#include "server/engine/engine.h"
#include "server/engine/step_batch.h"

namespace deltaserve::bench {

// What a step has to do at least.
struct StepWork {
  MatmulWork matmul;
  int64_t kv_bytes = 0;  // keys and values its sequences attend to, read once a sequence
};

// Not thread-safe.
class BenchModel {
 public:
  struct Sizes {
    int64_t max_batch = 1;
    int64_t context = 128;      // tokens of a decoding sequence, the one being computed included
    int64_t max_prefill = 512;  // tokens of one prefill
  };

  // Prefills the contexts of `max_batch` sequences with random ids. The backend must outlive it.
  static absl::StatusOr<std::unique_ptr<BenchModel>> Load(MeteredBackend& backend,
                                                          const std::filesystem::path& dir,
                                                          DType dtype, const Sizes& sizes);

  ResidualKind kind() const { return engine_.decoder().config().kind; }
  const Decoder& decoder() const { return engine_.decoder(); }

  // The seconds of one step: filling the batch, computing it and bringing back the ids that were
  // sampled (greedily).
  // The last tokens of `batch` sequences. Always at the same position: what changes with the ids
  // takes no time.
  absl::StatusOr<double> Decode(int64_t batch) { return Decode(batch, sizes_.context); }
  // The same where the sequences were only `context` tokens long.
  absl::StatusOr<double> Decode(int64_t batch, int64_t context);
  // A prompt of `num_tokens` in one chunk, whose last row is sampled.
  absl::StatusOr<double> Prefill(int64_t num_tokens);

  // Of a step of either kind; runs one to see.
  absl::StatusOr<StepWork> DecodeWork(int64_t batch);
  absl::StatusOr<StepWork> PrefillWork(int64_t num_tokens);

 private:
  BenchModel(MeteredBackend& backend, Engine engine, const Sizes& sizes);

  struct Sequence {
    std::vector<int32_t> tokens;
    std::vector<int32_t> pages;
    int32_t slot = 0;
  };

  Sequence MakeSequence(int64_t num_tokens);
  absl::Status FillContext(const Sequence& sequence);
  // Adds positions [first, first + count) and samples the last.
  void Add(const Sequence& sequence, int64_t first, int64_t count, bool last_id_on_device);
  StepWork Work(int64_t kv_tokens) const;

  MeteredBackend& backend_;
  Engine engine_;
  const Sizes sizes_;
  StepBatch batch_;
  std::minstd_rand random_{1};
  int32_t next_page_ = 1, next_slot_ = 1;
  std::vector<Sequence> decoding_;
  Sequence prompt_;
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_BENCH_MODEL_H_
