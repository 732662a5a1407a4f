#include "server/model/assign_or_return.h"
#include "server/model/residual/boundary_stream.h"
#include "server/model/residual/streams.h"

namespace deltaserve {
namespace {

class Additive final : public BoundaryStream {
 public:
  absl::Status Load(const ModelConfig& config, const WeightLoader& loader) {
    return LoadShared(config, loader);
  }

 private:
  void SetWrite(BoundaryParams& boundary, Site, const SublayerIo& io) const override {
    boundary.write = BoundaryParams::Write::kAdd;
    boundary.h = io.h;
  }
  void SetRead(BoundaryParams&, std::optional<Site>, const CacheView&,
               const SublayerIo&) const override {}
};

}  // namespace

absl::StatusOr<std::unique_ptr<ResidualStream>> LoadAdditive(const ModelConfig& config,
                                                             const WeightLoader& loader) {
  auto stream = std::make_unique<Additive>();
  RETURN_IF_ERROR(stream->Load(config, loader));
  return stream;
}

}  // namespace deltaserve
