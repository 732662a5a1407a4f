#include "server/service/tenants.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "auth/api_key.h"
#include "auth/keys_file.h"
#include "proto/usd.h"

namespace deltaserve {
namespace {

constexpr absl::string_view kScheme = "Bearer ";

std::shared_ptr<const Tenant> TenantOf(const v1::KeysFile::Tenant& entry) {
  Tenant tenant;
  tenant.name = entry.name();
  tenant.models.assign(entry.models().begin(), entry.models().end());
  if (entry.has_requests_per_minute()) tenant.requests_per_minute = entry.requests_per_minute();
  if (entry.has_tokens_per_minute()) tenant.tokens_per_minute = entry.tokens_per_minute();
  if (entry.has_budget()) {
    Budget budget;
    // It was checked when it was read.
    budget.limit = ParseUsd(entry.budget().usd(), kPicodollarPlaces).value_or(0);
    if (entry.budget().period() == "day") budget.period = Budget::Period::kDay;
    if (entry.budget().period() == "month") budget.period = Budget::Period::kMonth;
    tenant.budget = budget;
  }
  return std::make_shared<const Tenant>(std::move(tenant));
}

}  // namespace

struct Tenants::Directory {
  struct Key {
    SecretHash hash;
    Caller caller;
  };

  List tenants;
  absl::flat_hash_map<std::string, Key> keys;  // by id
};

Tenants::Tenants() : Tenants("") {
  auto directory = std::make_shared<Directory>();
  directory->tenants.push_back(DefaultTenant());
  MutexLock lock(&mutex_);
  directory_ = std::move(directory);
}

Tenants::Tenants(std::string path) : path_(std::move(path)) {}

Tenants::~Tenants() = default;

absl::StatusOr<std::unique_ptr<Tenants>> Tenants::Load(const std::string& path) {
  // Not make_unique: the constructor is private.
  std::unique_ptr<Tenants> tenants(new Tenants(path));
  const auto take_any = [](const List&) { return absl::OkStatus(); };
  if (absl::Status status = tenants->Reload(take_any); !status.ok()) return status;
  return tenants;
}

absl::Status Tenants::Reload(absl::FunctionRef<absl::Status(const List&)> check) {
  if (path_.empty()) return absl::OkStatus();
  const absl::StatusOr<v1::KeysFile> file = ReadKeysFile(path_);
  if (!file.ok()) return file.status();
  auto directory = std::make_shared<Directory>();
  absl::flat_hash_map<std::string, std::shared_ptr<const Tenant>> by_name;
  for (const v1::KeysFile::Tenant& entry : file->tenants()) {
    directory->tenants.push_back(TenantOf(entry));
    by_name[entry.name()] = directory->tenants.back();
  }
  for (const v1::KeysFile::Key& key : file->keys()) {
    directory->keys[key.id()] = {.hash = {.salt = absl::HexStringToBytes(key.salt()),
                                          .digest = absl::HexStringToBytes(key.sha256())},
                                 .caller = {.tenant = by_name[key.tenant()], .admin = key.admin()}};
  }
  if (absl::Status status = check(directory->tenants); !status.ok()) return status;
  MutexLock lock(&mutex_);
  directory_ = std::move(directory);
  return absl::OkStatus();
}

std::shared_ptr<const Tenants::Directory> Tenants::directory() const {
  MutexLock lock(&mutex_);
  return directory_;
}

Tenants::List Tenants::tenants() const { return directory()->tenants; }

absl::StatusOr<Caller> Tenants::Authenticate(const Metadata& metadata) const {
  const std::shared_ptr<const Directory> known = directory();
  if (path_.empty()) return Caller{.tenant = known->tenants.front(), .admin = true};
  const auto header = metadata.find("authorization");
  if (header == metadata.end()) {
    return absl::UnauthenticatedError("authorization: missing; it is \"Bearer ID.SECRET\"");
  }
  const absl::string_view value(header->second.data(), header->second.size());
  std::optional<ApiKey> shown;
  if (absl::StartsWithIgnoreCase(value, kScheme)) {
    const absl::string_view key = value.substr(kScheme.size());
    shown = ParseApiKey({key.data(), key.size()});
  }
  if (!shown) return absl::UnauthenticatedError("authorization: not \"Bearer ID.SECRET\"");
  // An unknown id is compared as well, with what matches nothing.
  const SecretHash nobody = {.salt = std::string(kSaltBytes, '\0'),
                             .digest = std::string(kDigestBytes, '\0')};
  const auto found = known->keys.find(shown->id);
  const bool is_known = found != known->keys.end();
  if (!Matches(is_known ? found->second.hash : nobody, shown->secret) || !is_known) {
    return absl::UnauthenticatedError("authorization: the key is not valid");
  }
  return found->second.caller;
}

}  // namespace deltaserve
