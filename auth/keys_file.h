#ifndef DELTASERVE_AUTH_KEYS_FILE_H_
#define DELTASERVE_AUTH_KEYS_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "auth/api_key.h"
#include "deltaserve/v1/keys.pb.h"

namespace deltaserve {

// Reads and checks it: names and ids are there and unique, keys belong to tenants, limits are
// positive. NOT_FOUND: the file cannot be read; INVALID_ARGUMENT: where, and what is wrong.
absl::StatusOr<v1::KeysFile> ReadKeysFile(const std::string& path);

// Adds a key for `tenant.name`, and the tenant, too, where the file has it not; the file is made
// where there is none, for its owner alone, and replaced as a whole. What else stands in it,
// comments included, stays. Returns the key, which nothing keeps. INVALID_ARGUMENT: the file or the
// tenant is not well-formed; ALREADY_EXISTS: the tenant is there, and `tenant` says more than its
// name.
absl::StatusOr<ApiKey> AddKey(const std::string& path, const v1::KeysFile::Tenant& tenant,
                              bool admin);

}  // namespace deltaserve

#endif  // DELTASERVE_AUTH_KEYS_FILE_H_
