#include "client/cpp/tls_credentials.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeTlsCredentials(
    const ClientTlsFiles& files) {
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError("a TLS certificate and its key go together");
  }
  grpc::SslCredentialsOptions options;
  const std::pair<const std::string*, std::string*> reads[] = {
      {&files.ca, &options.pem_root_certs},
      {&files.cert, &options.pem_cert_chain},
      {&files.key, &options.pem_private_key}};
  for (const auto& [path, text] : reads) {
    if (path->empty()) continue;
    std::ifstream file(*path);
    std::stringstream read;
    read << file.rdbuf();
    if (!file.good()) return absl::NotFoundError(absl::StrCat("cannot read ", *path));
    *text = read.str();
  }
  return grpc::SslCredentials(options);
}

}  // namespace deltaserve
