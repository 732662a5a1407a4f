#include "auth/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cstdlib>

#include "absl/strings/escaping.h"

namespace deltaserve {
namespace {

// Where the system has no randomness, nothing is safe.
std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    std::abort();
  }
  return bytes;
}

std::string Digest(std::string_view salt, std::string_view secret) {
  std::string text(salt);
  text.append(secret);
  std::string digest(kDigestBytes, '\0');
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
                 EVP_sha256(), nullptr) != 1) {
    std::abort();  // no memory
  }
  return digest;
}

}  // namespace

ApiKey GenerateApiKey() {
  return {absl::BytesToHexString(RandomBytes(8)), absl::BytesToHexString(RandomBytes(32))};
}

std::optional<ApiKey> ParseApiKey(std::string_view text) {
  const size_t point = text.find('.');
  if (point == 0 || point == std::string_view::npos || point + 1 == text.size()) {
    return std::nullopt;
  }
  return ApiKey{std::string(text.substr(0, point)), std::string(text.substr(point + 1))};
}

SecretHash HashSecret(std::string_view secret) {
  std::string salt = RandomBytes(kSaltBytes);
  std::string digest = Digest(salt, secret);
  return {std::move(salt), std::move(digest)};
}

bool Matches(const SecretHash& hash, std::string_view secret) {
  const std::string digest = Digest(hash.salt, secret);
  return hash.digest.size() == digest.size() &&
         CRYPTO_memcmp(hash.digest.data(), digest.data(), digest.size()) == 0;
}

}  // namespace deltaserve
