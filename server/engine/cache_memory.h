#ifndef DELTASERVE_SERVER_ENGINE_CACHE_MEMORY_H_
#define DELTASERVE_SERVER_ENGINE_CACHE_MEMORY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/model/decoder.h"
#include "server/model/step.h"

namespace deltaserve {

// The memory behind the page and slot ids of one model, reserved once. The backend must outlive it.
class CacheMemory {
 public:
  // Page 0 and slot 0 included.
  static absl::StatusOr<CacheMemory> Allocate(Backend& backend, const Decoder& decoder,
                                              int64_t num_pages, int64_t num_slots);

  const CacheView& view() const { return view_; }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  std::vector<Buffer> buffers_;
  CacheView view_;
  int64_t size_bytes_ = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_CACHE_MEMORY_H_
