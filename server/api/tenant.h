#ifndef DELTASERVE_SERVER_API_TENANT_H_
#define DELTASERVE_SERVER_API_TENANT_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/result.h"

namespace deltaserve {

// What a tenant may be billed, at most, in each day, in each month (of UTC), or ever.
struct Budget {
  enum class Period : uint8_t { kDay, kMonth, kTotal };

  Picodollars limit = 0;
  Period period = Period::kTotal;
  friend bool operator==(const Budget&, const Budget&) = default;
};

// Whom requests are made for, and what it may have. Immutable.
struct Tenant {
  std::string name = "default";
  std::vector<std::string> models = {};  // that it may use; none: all
  std::optional<int64_t> requests_per_minute = std::nullopt;
  std::optional<int64_t> tokens_per_minute = std::nullopt;
  std::optional<Budget> budget = std::nullopt;

  bool MayUse(std::string_view model) const {
    return models.empty() || std::find(models.begin(), models.end(), model) != models.end();
  }
};

// Of a server that knows no others.
inline std::shared_ptr<const Tenant> DefaultTenant() { return std::make_shared<Tenant>(); }

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_TENANT_H_
