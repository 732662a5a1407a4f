#ifndef DELTASERVE_AUTH_API_KEY_H_
#define DELTASERVE_AUTH_API_KEY_H_

#include <optional>
#include <string>
#include <string_view>

namespace deltaserve {

// What a caller shows: "ID.SECRET". The id says which key it is and may be known; the secret is
// known to the caller alone.
struct ApiKey {
  std::string id;
  std::string secret;

  std::string Text() const { return id + "." + secret; }
};

// Of 64 and 256 random bits, hexadecimal.
ApiKey GenerateApiKey();

// Empty: it does not have that form.
std::optional<ApiKey> ParseApiKey(std::string_view text);

// What is kept of a secret. Secrets are random and long, so that a fast hash will do: nobody tries
// 2^256 of them.
struct SecretHash {
  std::string salt;    // bytes
  std::string digest;  // bytes: SHA-256 of salt and secret
};
inline constexpr size_t kSaltBytes = 16;
inline constexpr size_t kDigestBytes = 32;

// With a random salt.
SecretHash HashSecret(std::string_view secret);

// In a time that does not depend on where they differ.
bool Matches(const SecretHash& hash, std::string_view secret);

}  // namespace deltaserve

#endif  // DELTASERVE_AUTH_API_KEY_H_
