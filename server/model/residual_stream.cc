#include "server/model/residual_stream.h"

#include "server/model/residual/streams.h"

namespace deltaserve {

absl::StatusOr<std::unique_ptr<ResidualStream>> LoadResidualStream(const ModelConfig& config,
                                                                   const WeightLoader& loader) {
  switch (config.kind) {
    case ResidualKind::kAdditive:
      return LoadAdditive(config, loader);
    case ResidualKind::kDdlScalar:
      return LoadDdlScalar(config, loader);
    case ResidualKind::kDdlTc:
    case ResidualKind::kDdlTcEc:
    case ResidualKind::kDdlCc:
    case ResidualKind::kDdlCcEc:
      return LoadDdlExpanded(config, loader);
  }
  return absl::InternalError("unknown residual kind");
}

}  // namespace deltaserve
