#include "server/service/request_ids.h"

#include "absl/strings/str_cat.h"

namespace deltaserve {

RequestIds::RequestIds()
    : prefix_(absl::StrCat(absl::Hex(std::random_device()(), absl::kZeroPad8))) {}

std::string RequestIds::Name(RequestId id) const { return absl::StrCat(prefix_, "-", id); }

SeedGenerator::SeedGenerator() {
  std::random_device device;
  std::seed_seq entropy{device(), device(), device(), device()};
  engine_.seed(entropy);
}

uint64_t SeedGenerator::Next() {
  std::lock_guard lock(mutex_);
  return engine_();
}

}  // namespace deltaserve
