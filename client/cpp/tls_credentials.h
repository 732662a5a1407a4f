#ifndef DELTASERVE_CLIENT_CPP_TLS_CREDENTIALS_H_
#define DELTASERVE_CLIENT_CPP_TLS_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace deltaserve {

// PEM files of a connection with TLS.
struct ClientTlsFiles {
  std::string ca = {};  // authorities of servers' certificates; empty: those gRPC trusts by itself
  // What the caller shows to a server that asks for it; both or neither.
  std::string cert = {};
  std::string key = {};
};

// For ClientOptions::credentials. NOT_FOUND names the file that cannot be read; INVALID_ARGUMENT:
// one of `cert` and `key` without the other.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeTlsCredentials(
    const ClientTlsFiles& files);

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_TLS_CREDENTIALS_H_
