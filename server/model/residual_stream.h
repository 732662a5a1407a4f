// The residual connection as a strategy. Attention, MLP, cache and scheduler do not know which one
// is in use. Between two sublayers lies one boundary: write the finished sublayer's result into the
// state, read the next one's input from it, normalise that, and make its gate and target.
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_STREAM_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_STREAM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/model/config.h"
#include "server/model/step.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

// A sublayer's place: 2 * layer, + 1 for the MLP.
struct Site {
  int64_t layer = 0;
  bool mlp = false;

  int64_t index() const { return 2 * layer + (mlp ? 1 : 0); }
};

// What passes between the sublayers and the stream in one step of T tokens.
struct SublayerIo {
  TensorView c;            // model dtype [T, d]: normalised input of the sublayer
  TensorView h;            // f32 [T, d]: its output, not normalised
  TensorView gate_hidden;  // f32 [T, b]: W_in c of a two-layer gate, made by the sublayer
  // Made by the read of a boundary, used by the next one's write. Row i is of the site with index
  // i.
  TensorView beta;  // f32 [2L, T]
  TensorView v;     // f32 [2L, T, d_v]
  TensorView proj;  // f32 [2L, T, d_v]: k^T X before the write
};

// Immutable after load. The state is f32 [T, d_v, d].
class ResidualStream {
 public:
  virtual ~ResidualStream() = default;

  virtual int64_t value_channels() const = 0;  // d_v
  // Rows of width d, in fp32, that each call keeps per sequence, and the number of calls. 0: none.
  virtual int64_t tail_rows() const { return 0; }
  virtual int64_t tail_calls() const { return 0; }
  // Tokens before a run that the embedding reads: K_e - 1.
  virtual int64_t left_tokens() const { return 0; }
  // The write needs a destination apart from its source.
  virtual bool needs_second_state() const { return false; }
  virtual bool has_gate() const { return false; }
  // The inner weight of a two-layer gate: a linear on c, to be packed with the sublayer's first
  // projection, which leaves its output in SublayerIo::gate_hidden.
  virtual std::optional<std::string> GateHiddenWeight(Site) const { return std::nullopt; }

  // Embeds into `x` and reads the first input.
  virtual void Begin(const Step& step, const CacheView& cache, TensorView wte, TensorView x,
                     SublayerIo& io) const = 0;
  virtual void Cross(const Step& step, const CacheView& cache, Site done, Site next, SublayerIo& io,
                     TensorView src, TensorView dst) const = 0;
  // Last write, readout, ln_f: io.c is what the head multiplies.
  virtual void Finish(const Step& step, const CacheView& cache, Site done, SublayerIo& io,
                      TensorView src, TensorView dst) const = 0;
};

// The stream keeps the loader's backend, which must outlive it.
absl::StatusOr<std::unique_ptr<ResidualStream>> LoadResidualStream(const ModelConfig& config,
                                                                   const WeightLoader& loader);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_STREAM_H_
