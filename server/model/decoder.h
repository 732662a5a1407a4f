// A DDL or additive decoder: embed, blocks, finish, logits of the wanted rows, sampling.
#ifndef DELTASERVE_SERVER_MODEL_DECODER_H_
#define DELTASERVE_SERVER_MODEL_DECODER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/model/attention.h"
#include "server/model/checkpoint.h"
#include "server/model/mlp.h"
#include "server/model/residual_stream.h"
#include "server/model/rope.h"
#include "server/model/step.h"

namespace deltaserve {

// What one step may hold at most; memory for it is reserved at load.
struct StepLimits {
  int64_t max_tokens = 512;         // T
  int64_t max_sampled = 1024;       // M
  int64_t max_targets = 1 << 16;    // N
  int64_t max_sequence_tokens = 0;  // positions; 0: the model's context
};

// What one model's cache takes.
struct CacheSizes {
  int64_t page_bytes_per_layer = 0;  // keys and values of page_tokens tokens
  int64_t num_layers = 0;
  int64_t tail_calls = 0, tail_rows = 0, hidden_size = 0;

  int64_t PageBytes() const { return page_bytes_per_layer * num_layers; }
  int64_t SlotBytes() const { return tail_calls * tail_rows * hidden_size * 4 + 4; }
};

// Immutable after load but for its scratch memory: one Forward at a time, on the backend's thread.
class Decoder {
 public:
  // The backend must outlive the decoder; the checkpoint is needed during the call only.
  // FAILED_PRECONDITION: the backend does not compute in `dtype`. RESOURCE_EXHAUSTED: memory.
  static absl::StatusOr<std::unique_ptr<Decoder>> Load(Backend& backend,
                                                       const Checkpoint& checkpoint, DType dtype,
                                                       const StepLimits& limits);

  const ModelConfig& config() const { return config_; }
  const StepLimits& limits() const { return limits_; }
  DType dtype() const { return dtype_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  const ResidualStream& stream() const { return *stream_; }
  CacheSizes cache_sizes() const;
  Shape KvShape(int64_t num_pages) const;     // of one layer's keys and values
  Shape TailsShape(int64_t num_slots) const;  // rank 0 where there are none

  // Computes a step within the limits. The outputs are there after Synchronize() or CopyToHost()
  // and hold until the next call.
  StepOutputs Forward(const Step& step, const CacheView& cache);

 private:
  Decoder(Backend& backend, const ModelConfig& config, DType dtype, const StepLimits& limits)
      : backend_(backend), config_(config), dtype_(dtype), limits_(limits) {}

  absl::Status LoadWeights(const Checkpoint& checkpoint);
  absl::Status AllocateActivations();
  void ForkCaches(const Step& step, const CacheView& cache);
  void Blocks(const Step& step, const CacheView& cache, SublayerIo& io);
  void Logits(const Step& step, const CacheView& cache, const StepOutputs& outputs);

  struct Block {
    Attention attention;
    Mlp mlp;
  };
  // Everything a forward pass writes besides the cache, sized for the largest step.
  struct Activations {
    Buffer state[2];        // f32 [T, d_v, d]; the second only where the stream needs it
    Buffer c, h;            // model dtype [T, d], f32 [T, d]
    Buffer projected;       // f32 [T, the widest first projection]
    Buffer y, hidden;       // model dtype [T, H*D], [T, hid]
    Buffer rows, logits;    // [logit_tile_, d], f32 [logit_tile_, V]
    Buffer results, gates;  // the blocks of StepOutputs
  };

  Backend& backend_;
  const ModelConfig config_;
  const DType dtype_;
  StepLimits limits_;
  int64_t weight_bytes_ = 0;
  int64_t logit_tile_ = 0;     // rows of logits at a time
  int64_t hidden_stride_ = 0;  // elements from one row of an MLP's hidden layer to the next
  RopeTables rope_;
  DeviceTensor wte_;
  std::unique_ptr<PackedLinear> head_;
  std::unique_ptr<ResidualStream> stream_;
  std::vector<Block> blocks_;
  Activations activations_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_DECODER_H_
