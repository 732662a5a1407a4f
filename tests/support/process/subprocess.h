#ifndef DELTASERVE_TESTS_SUPPORT_PROCESS_SUBPROCESS_H_
#define DELTASERVE_TESTS_SUPPORT_PROCESS_SUBPROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/api/mutex.h"

namespace deltaserve {

// A child process whose output is collected while it runs. Thread-safe. Destroying it kills the
// child where it still runs.
class Subprocess {
 public:
  // Runs `command`, a path and its arguments, in this process's environment with `input` on
  // standard input.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(std::vector<std::string> command,
                                                           absl::string_view input = "");
  ~Subprocess();

  pid_t pid() const { return pid_; }
  void Signal(int signal);

  // The exit status, or minus the signal that ended it; DEADLINE_EXCEEDED where it still runs after
  // `timeout`.
  absl::StatusOr<int> Wait(absl::Duration timeout);

  // Blocks until standard output holds `text`. FAILED_PRECONDITION where the child ended without,
  // DEADLINE_EXCEEDED after `timeout`.
  absl::Status WaitForOutput(absl::string_view text, absl::Duration timeout);

  // What came so far.
  std::string out() const;
  std::string err() const;

 private:
  Subprocess(pid_t pid, int out_fd, int err_fd);
  void Collect(int out_fd, int err_fd);

  const pid_t pid_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::string out_ ABSL_GUARDED_BY(mutex_);
  std::string err_ ABSL_GUARDED_BY(mutex_);
  std::optional<int> exit_ ABSL_GUARDED_BY(mutex_);  // set once the child is reaped
  std::thread collector_;
};

// A command that has run to its end; `exit` is the status that Subprocess::Wait gave.
struct Ended {
  int exit = -1;
  std::string out;
  std::string err;
};
// DEADLINE_EXCEEDED: it still ran after `timeout`, and was killed.
absl::StatusOr<Ended> RunToEnd(std::vector<std::string> command, absl::Duration timeout,
                               absl::string_view input = "");

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_PROCESS_SUBPROCESS_H_
