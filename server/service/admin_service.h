#ifndef DELTASERVE_SERVER_SERVICE_ADMIN_SERVICE_H_
#define DELTASERVE_SERVER_SERVICE_ADMIN_SERVICE_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/api/usage_records.h"
#include "server/service/tenants.h"

namespace deltaserve {

// The listening server of deltaserve.v1.AdminService, with reflection.
class AdminServer {
 public:
  // Both outlive the server; `ledger` may be null: then there is nothing to be seen.
  // UNAVAILABLE: `address`, host:port, cannot be listened on.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& address, const Tenants* tenants, UsageReader* ledger,
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  // Waits for the calls under way, which `ledger` must still answer.
  ~AdminServer();

  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // host:port, with the real port.
  const std::string& address() const { return address_; }

 private:
  AdminServer(const Tenants* tenants, UsageReader* ledger);

  std::string address_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_ADMIN_SERVICE_H_
