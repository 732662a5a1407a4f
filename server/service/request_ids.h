#ifndef DELTASERVE_SERVER_SERVICE_REQUEST_IDS_H_
#define DELTASERVE_SERVER_SERVICE_REQUEST_IDS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>

#include "server/api/request.h"

namespace deltaserve {

// Numbers a process's requests. Thread-safe.
class RequestIds {
 public:
  RequestIds();

  RequestId Next() { return next_.fetch_add(1, std::memory_order_relaxed); }

  // What responses and logs call it: unique among processes as well, but for bad luck.
  std::string Name(RequestId id) const;

 private:
  const std::string prefix_;
  std::atomic<RequestId> next_ = 1;
};

// Seeds for requests that bring none. Thread-safe.
class SeedGenerator {
 public:
  SeedGenerator();

  uint64_t Next();

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;  // guarded by mutex_
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_REQUEST_IDS_H_
