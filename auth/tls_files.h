#ifndef DELTASERVE_AUTH_TLS_FILES_H_
#define DELTASERVE_AUTH_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace deltaserve {

// Where a server's PEM files are.
struct TlsFiles {
  std::string cert;       // its certificate, and those between it and its authority
  std::string key;        // the private key, not encrypted
  std::string client_ca;  // the authorities of callers' certificates; empty: callers need none
};

// Whether they can be used: INVALID_ARGUMENT or NOT_FOUND names the flag and the file.
absl::Status CheckTlsFiles(const TlsFiles& files);

}  // namespace deltaserve

#endif  // DELTASERVE_AUTH_TLS_FILES_H_
