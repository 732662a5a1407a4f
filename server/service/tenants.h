#ifndef DELTASERVE_SERVER_SERVICE_TENANTS_H_
#define DELTASERVE_SERVER_SERVICE_TENANTS_H_

#include <grpcpp/support/string_ref.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/mutex.h"
#include "server/api/tenant.h"

namespace deltaserve {

// Who calls, as its key says.
struct Caller {
  std::shared_ptr<const Tenant> tenant;
  bool admin = false;  // may see what is not its own
};

// Who may call. Thread-safe.
class Tenants {
 public:
  // Without keys everybody is an admin of the tenant "default".
  Tenants();
  // With those of a file (auth/keys_file.h), whose statuses it has.
  static absl::StatusOr<std::unique_ptr<Tenants>> Load(const std::string& path);
  ~Tenants();

  Tenants(const Tenants&) = delete;
  Tenants& operator=(const Tenants&) = delete;

  // Reads the file anew: calls under way keep what they have. Where that fails, or `check` does not
  // take the new tenants, the old ones stay.
  using List = std::vector<std::shared_ptr<const Tenant>>;
  absl::Status Reload(absl::FunctionRef<absl::Status(const List&)> check);

  // By the metadata `authorization: Bearer ID.SECRET` of a call. UNAUTHENTICATED: it has none, or
  // the key is not (or no longer) one of the file's. Takes the same time whatever is wrong with a
  // key.
  using Metadata = std::multimap<grpc::string_ref, grpc::string_ref>;
  absl::StatusOr<Caller> Authenticate(const Metadata& metadata) const;

  List tenants() const;

 private:
  struct Directory;

  explicit Tenants(std::string path);
  std::shared_ptr<const Directory> directory() const;

  const std::string path_;  // empty: no keys
  mutable Mutex mutex_;
  std::shared_ptr<const Directory> directory_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_TENANTS_H_
