#ifndef DELTASERVE_TESTS_BILLING_FULL_DISK_H_
#define DELTASERVE_TESTS_BILLING_FULL_DISK_H_

#include <signal.h>
#include <sys/resource.h>

#include <cstdint>

namespace deltaserve {

// While this lives, the process's files may not grow beyond `bytes`, as on a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(uintmax_t bytes) {
    was_ignored_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, was_ignored_);
  }

 private:
  rlimit before_;
  void (*was_ignored_)(int);
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_BILLING_FULL_DISK_H_
