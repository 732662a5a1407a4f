#ifndef DELTASERVE_SERVER_SERVICE_GRPC_SERVER_H_
#define DELTASERVE_SERVER_SERVICE_GRPC_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/service/health.h"
#include "server/service/inference_service.h"

namespace deltaserve {

// The listening server: InferenceService, health and reflection on one address.
class GrpcServer {
 public:
  // `address` is host:port, where port 0 means any free one. UNAVAILABLE when it cannot be
  // listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const std::string& address, InferenceService::Dependencies dependencies, RequestLimits limits,
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  // Shuts down, with no time for calls under way, unless that was done.
  ~GrpcServer();

  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // host:port, with the real port.
  const std::string& address() const { return address_; }

  Health& health() { return *health_; }

  // New calls are refused with UNAVAILABLE and health turns NOT_SERVING; calls under way have
  // `drain_limit` to finish and then end with UNAVAILABLE. Then new ones
  // are refused for half a second more, or for the limit where that is less. The engine must run
  // until this returns.
  void Shutdown(absl::Duration drain_limit);

 private:
  GrpcServer(InferenceService::Dependencies dependencies, RequestLimits limits)
      : service_(std::move(dependencies), limits) {}

  std::string address_;
  InferenceService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health> health_;
  bool shut_down_ = false;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_GRPC_SERVER_H_
