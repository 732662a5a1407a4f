#include "auth/tls_files.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "proto/text_file.h"

namespace deltaserve {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

absl::StatusOr<std::string> Read(const char* flag, const std::string& path) {
  absl::StatusOr<std::string> text = ReadText(path);
  if (text.ok()) return text;
  return absl::Status(text.status().code(), absl::StrCat(flag, ": ", text.status().message()));
}

Bio Open(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// An encrypted key is not decrypted: without this OpenSSL would ask at the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::StatusOr<Certificate> ReadCertificate(const char* flag, const std::string& path) {
  const absl::StatusOr<std::string> text = Read(flag, path);
  if (!text.ok()) return text.status();
  Certificate certificate(PEM_read_bio_X509(Open(*text).get(), nullptr, NoPassphrase, nullptr));
  if (certificate != nullptr) return certificate;
  return absl::InvalidArgumentError(absl::StrCat(flag, ": there is no PEM certificate in ", path));
}

absl::StatusOr<PrivateKey> ReadPrivateKey(const char* flag, const std::string& path) {
  const absl::StatusOr<std::string> text = Read(flag, path);
  if (!text.ok()) return text.status();
  PrivateKey key(PEM_read_bio_PrivateKey(Open(*text).get(), nullptr, NoPassphrase, nullptr));
  if (key != nullptr) return key;
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": there is no PEM private key, or an encrypted one, in ", path));
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files) {
  const absl::StatusOr<Certificate> certificate = ReadCertificate("--tls-cert", files.cert);
  if (!certificate.ok()) return certificate.status();
  const absl::StatusOr<PrivateKey> key = ReadPrivateKey("--tls-key", files.key);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls-key: ", files.key, " is not the key of the certificate ", files.cert));
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  return ReadCertificate("--tls-client-ca", files.client_ca).status();
}

}  // namespace deltaserve
