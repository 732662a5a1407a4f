#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"
#include "server/model/residual/compressor.h"
#include "server/model/residual/delta_stream.h"
#include "server/model/residual/streams.h"

namespace deltaserve {
namespace {

class DdlExpanded final : public DeltaStream {
 public:
  absl::Status Load(const ModelConfig& config, const WeightLoader& loader) {
    RETURN_IF_ERROR(LoadGates(config, loader));
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      ASSIGN_OR_RETURN(
          Compressor compressor,
          Compressor::Load(config, absl::StrCat("transformer.h.", layer, ".compress"), loader));
      compressors_.push_back(std::move(compressor));
    }
    ASSIGN_OR_RETURN(Compressor readout, Compressor::Load(config, "readout", loader));
    compressors_.push_back(std::move(readout));
    over_time_ = config.is_tc();
    if (over_time_) tail_rows_ = config.ddl_state_shortconv_kernel_size - 1;
    num_sites_ = 2 * config.num_hidden_layers;
    return absl::OkStatus();
  }

  int64_t tail_rows() const override { return tail_rows_; }
  int64_t tail_calls() const override { return tail_rows_ == 0 ? 0 : num_sites_ + 1; }
  bool needs_second_state() const override { return over_time_; }

 private:
  void SetRead(BoundaryParams& boundary, std::optional<Site> next, const CacheView& cache,
               const SublayerIo& io) const override {
    DeltaStream::SetRead(boundary, next, cache, io);
    // A block's two sublayers share their compressor, never the tails.
    const Compressor& compressor = next ? compressors_[next->layer] : compressors_.back();
    compressor.SetRead(boundary, next ? next->index() : num_sites_, cache.tails);
  }

  std::vector<Compressor> compressors_;  // by layer; the last is the readout's
  bool over_time_ = false;
  int64_t tail_rows_ = 0;
  int64_t num_sites_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ResidualStream>> LoadDdlExpanded(const ModelConfig& config,
                                                                const WeightLoader& loader) {
  auto stream = std::make_unique<DdlExpanded>();
  RETURN_IF_ERROR(stream->Load(config, loader));
  return stream;
}

}  // namespace deltaserve
