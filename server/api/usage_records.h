// What is remembered of requests when they have ended.
#ifndef DELTASERVE_SERVER_API_USAGE_RECORDS_H_
#define DELTASERVE_SERVER_API_USAGE_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "server/api/result.h"

namespace deltaserve {

// Days are those of UTC.
inline absl::CivilDay DayOf(absl::Time time) { return absl::ToCivilDay(time, absl::UTCTimeZone()); }

struct UsageRecord {
  enum class State : uint8_t {
    kOpen,         // reserved, not ended
    kClosed,       // ended
    kInterrupted,  // the server went away before its end: billed what was reserved
  };

  std::string request_id;
  std::string tenant;
  std::string model;
  absl::Time opened;  // its day is the one it is billed to
  std::optional<absl::Time> closed;
  State state = State::kOpen;
  absl::StatusCode code = absl::StatusCode::kOk;  // how it ended
  std::optional<Picodollars> reserved;            // absent: the tenant has no budget
  Picodollars billed = 0;
  Picodollars absorbed = 0;  // what it cost beyond that
  Usage usage;
};

// As the ledger and callers call it.
constexpr std::string_view Name(UsageRecord::State state) {
  switch (state) {
    case UsageRecord::State::kOpen:
      return "open";
    case UsageRecord::State::kClosed:
      return "closed";
    case UsageRecord::State::kInterrupted:
      return "interrupted";
  }
  return "?";
}

// Sums over requests that have ended.
struct UsageTotal {
  // Absent where the sum is over all of them.
  std::optional<std::string> tenant;
  std::optional<std::string> model;
  std::optional<absl::CivilDay> day;  // of their opening
  int64_t requests = 0;
  int64_t interrupted = 0;  // of these
  Picodollars billed = 0;
  Picodollars absorbed = 0;
  Usage usage;
};

struct UsageQuery {
  // Only of these; absent: of all.
  std::optional<std::string> tenant = std::nullopt;
  std::optional<std::string> model = std::nullopt;
  std::optional<absl::CivilDay> first_day = std::nullopt;
  std::optional<absl::CivilDay> last_day = std::nullopt;
  // What has a line of its own.
  bool by_tenant = false;
  bool by_model = false;
  bool by_day = false;
};

// Reads what is durable. Thread-safe; answers come later, on a thread of its own, which must not be
// held up, or at once: RESOURCE_EXHAUSTED, too many have asked and wait.
class UsageReader {
 public:
  template <typename T>
  using Answer = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~UsageReader() = default;
  // Ordered by day, tenant, model. Without anything that matches there is nothing in it.
  virtual void FindTotals(UsageQuery query, Answer<std::vector<UsageTotal>> answer) = 0;
  // NOT_FOUND: no such request, or none of `tenant`, where one is given.
  virtual void FindRequest(std::string request_id, std::optional<std::string> tenant,
                           Answer<UsageRecord> answer) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_USAGE_RECORDS_H_
