#include "server/service/health.h"

#include "deltaserve/v1/inference.grpc.pb.h"

namespace deltaserve {

Health::Health(grpc::HealthCheckServiceInterface* service, std::vector<std::string> models)
    : service_(service) {
  service_->SetServingStatus("", true);
  service_->SetServingStatus(v1::InferenceService::service_full_name(), true);
  for (const std::string& model : models) service_->SetServingStatus(model, true);
}

void Health::SetServing(bool serving) { service_->SetServingStatus(serving); }

void Health::Shutdown() { service_->Shutdown(); }

}  // namespace deltaserve
