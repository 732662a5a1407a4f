#ifndef DELTASERVE_SERVER_SERVICE_SERVER_TLS_H_
#define DELTASERVE_SERVER_SERVICE_SERVER_TLS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "auth/tls_files.h"

namespace deltaserve {

// TLS (1.2 or later) with the certificate of `files` and, where they name callers' authorities,
// for callers alone that show a certificate of one of these. The files are looked at every second:
// new connections see what is in them then, those that there are stay. CheckTlsFiles' statuses.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsServerCredentials(
    const TlsFiles& files);

// The same; without a certificate, plain text for any caller.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& files);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_SERVER_TLS_H_
