#ifndef DELTASERVE_SERVER_SERVICE_HEALTH_H_
#define DELTASERVE_SERVER_SERVICE_HEALTH_H_

#include <grpcpp/health_check_service_interface.h>

#include <string>
#include <vector>

namespace deltaserve {

// What grpc.health.v1.Health answers: for the server as a whole (""), for each model under its
// name, and for the inference service under its own. Thread-safe.
class Health {
 public:
  // `service` outlives it. Serving from the start.
  Health(grpc::HealthCheckServiceInterface* service, std::vector<std::string> models);

  void SetServing(bool serving);

  // NOT_SERVING for good.
  void Shutdown();

 private:
  grpc::HealthCheckServiceInterface* const service_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_HEALTH_H_
