#include "server/model/assign_or_return.h"
#include "server/model/residual/delta_stream.h"
#include "server/model/residual/streams.h"

namespace deltaserve {
namespace {

class DdlScalar final : public DeltaStream {
 public:
  absl::Status Load(const ModelConfig& config, const WeightLoader& loader) {
    return LoadGates(config, loader);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<ResidualStream>> LoadDdlScalar(const ModelConfig& config,
                                                              const WeightLoader& loader) {
  auto stream = std::make_unique<DdlScalar>();
  RETURN_IF_ERROR(stream->Load(config, loader));
  return stream;
}

}  // namespace deltaserve
