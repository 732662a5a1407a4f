#include "auth/keys_file.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/text_file.h"
#include "proto/usd.h"

namespace deltaserve {
namespace {

using v1::KeysFile;

bool IsHexOf(const std::string& text, size_t bytes) {
  return text.size() == 2 * bytes && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isxdigit(c);
         });
}

// Names go into logs and labels as they are.
bool IsName(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return absl::ascii_isgraph(c); });
}

absl::Status CheckTenant(const KeysFile::Tenant& tenant) {
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("tenant ", tenant.name(), ": ", what));
  };
  if (!IsName(tenant.name())) {
    return absl::InvalidArgumentError(
        absl::StrCat("tenant: \"", absl::CHexEscape(tenant.name()), "\" cannot be a name"));
  }
  if (tenant.has_requests_per_minute() && tenant.requests_per_minute() <= 0) {
    return wrong("requests_per_minute: not above 0");
  }
  if (tenant.has_tokens_per_minute() && tenant.tokens_per_minute() <= 0) {
    return wrong("tokens_per_minute: not above 0");
  }
  if (!tenant.has_budget()) return absl::OkStatus();
  if (const auto usd = ParseUsd(tenant.budget().usd(), kPicodollarPlaces); !usd.ok()) {
    return wrong(absl::StrCat("budget: usd: ", usd.status().message()));
  }
  const std::string& period = tenant.budget().period();
  if (period != "day" && period != "month" && period != "total") {
    return wrong(absl::StrCat("budget: period: \"", absl::CHexEscape(period),
                              "\" is none of day, month, total"));
  }
  return absl::OkStatus();
}

absl::Status CheckKeys(const KeysFile& file) {
  std::set<std::string> tenants, ids;
  for (const KeysFile::Tenant& tenant : file.tenants()) {
    if (absl::Status status = CheckTenant(tenant); !status.ok()) return status;
    if (!tenants.insert(tenant.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat("tenant ", tenant.name(), " is there twice"));
    }
  }
  for (const KeysFile::Key& key : file.keys()) {
    const auto wrong = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat("key ", key.id(), ": ", what));
    };
    if (!IsName(key.id()) || key.id().find('.') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("key: \"", absl::CHexEscape(key.id()), "\" cannot be an id"));
    }
    if (!ids.insert(key.id()).second) return wrong("is there twice");
    if (tenants.count(key.tenant()) == 0) {
      return wrong(absl::StrCat("there is no tenant \"", absl::CHexEscape(key.tenant()), "\""));
    }
    if (!IsHexOf(key.salt(), kSaltBytes)) return wrong("salt: not 32 hexadecimal digits");
    if (!IsHexOf(key.sha256(), kDigestBytes)) return wrong("sha256: not 64 hexadecimal digits");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadKeysText(const std::string& path) {
  absl::StatusOr<std::string> text = ReadText(path);
  if (text.ok()) return text;
  return absl::Status(text.status().code(), absl::StrCat("keys: ", text.status().message()));
}

absl::StatusOr<KeysFile> Parse(const std::string& path, const std::string& text) {
  KeysFile file;
  if (absl::Status status = ParseText(path, text, &file); !status.ok()) return status;
  if (absl::Status status = CheckKeys(file); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
  }
  return file;
}

// So that whoever reads it meanwhile sees the old file or the new one.
absl::Status Replace(const std::string& path, const std::string& text) {
  const std::string fresh = absl::StrCat(path, ".new");
  const auto failed = [&fresh](const char* what) {
    const absl::Status status = absl::UnavailableError(
        absl::StrCat("keys: cannot ", what, " ", fresh, ": ", std::strerror(errno)));
    unlink(fresh.c_str());
    return status;
  };
  const int file = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failed("make");
  // Whoever can read the old file can read the new one: the server may be somebody else.
  struct stat before;
  if (stat(path.c_str(), &before) == 0 &&
      (fchown(file, before.st_uid, before.st_gid) != 0 || fchmod(file, before.st_mode) != 0)) {
    close(file);
    return failed("keep owner and mode in");
  }
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       fsync(file) == 0;
  if (close(file) != 0 || !written) return failed("write");
  if (rename(fresh.c_str(), path.c_str()) != 0) return failed("rename");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KeysFile> ReadKeysFile(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadKeysText(path);
  if (!text.ok()) return text.status();
  return Parse(path, *text);
}

absl::StatusOr<ApiKey> AddKey(const std::string& path, const KeysFile::Tenant& tenant, bool admin) {
  if (absl::Status status = CheckTenant(tenant); !status.ok()) return status;
  std::string text;
  if (access(path.c_str(), F_OK) == 0) {
    absl::StatusOr<std::string> read = ReadKeysText(path);
    if (!read.ok()) return read.status();
    text = *std::move(read);
  }
  const absl::StatusOr<KeysFile> before = Parse(path, text);
  if (!before.ok()) return before.status();

  KeysFile added;
  const bool known = std::any_of(
      before->tenants().begin(), before->tenants().end(),
      [&tenant](const KeysFile::Tenant& other) { return other.name() == tenant.name(); });
  if (!known) {
    *added.add_tenants() = tenant;
  } else {
    KeysFile::Tenant name_alone;
    name_alone.set_name(tenant.name());
    if (tenant.SerializeAsString() != name_alone.SerializeAsString()) {
      return absl::AlreadyExistsError(absl::StrCat("tenant ", tenant.name(), " is in ", path,
                                                   " already: change what it may have there"));
    }
  }
  const ApiKey key = GenerateApiKey();
  const SecretHash hash = HashSecret(key.secret);
  KeysFile::Key* entry = added.add_keys();
  entry->set_id(key.id);
  entry->set_tenant(tenant.name());
  entry->set_salt(absl::BytesToHexString(hash.salt));
  entry->set_sha256(absl::BytesToHexString(hash.digest));
  if (admin) entry->set_admin(true);

  std::string addition;
  google::protobuf::TextFormat::PrintToString(added, &addition);
  if (!text.empty() && text.back() != '\n') text.push_back('\n');
  if (absl::Status status = Replace(path, text + addition); !status.ok()) return status;
  return key;
}

}  // namespace deltaserve
