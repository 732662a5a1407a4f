#include "tests/support/process/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

// An unnamed file that holds `input`, at its beginning: unlike a pipe it takes any size at once.
absl::StatusOr<int> InputFile(absl::string_view input) {
  const int fd = memfd_create("stdin", MFD_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  while (!input.empty()) {
    const ssize_t written = write(fd, input.data(), input.size());
    if (written < 0) {
      const int error = errno;
      close(fd);
      return absl::ErrnoToStatus(error, "write");
    }
    input.remove_prefix(written);
  }
  lseek(fd, 0, SEEK_SET);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(std::vector<std::string> command,
                                                              absl::string_view input) {
  absl::StatusOr<int> in = InputFile(input);
  if (!in.ok()) return in.status();
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  if (pipe2(err, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, *in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);

  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, command.front().c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(*in);
  close(out[1]);
  close(err[1]);
  if (error != 0) {
    close(out[0]);
    close(err[0]);
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", command.front()));
  }
  return std::unique_ptr<Subprocess>(new Subprocess(pid, out[0], err[0]));
}

Subprocess::Subprocess(pid_t pid, int out_fd, int err_fd)
    : pid_(pid), collector_(&Subprocess::Collect, this, out_fd, err_fd) {}

Subprocess::~Subprocess() {
  Signal(SIGKILL);
  collector_.join();
}

void Subprocess::Signal(int signal) {
  MutexLock lock(&mutex_);
  if (!exit_) kill(pid_, signal);
}

void Subprocess::Collect(int out_fd, int err_fd) {
  pollfd fds[2] = {{out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}};
  for (int open = 2; open > 0;) {
    poll(fds, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t size = read(fds[i].fd, buffer, sizeof(buffer));
      if (size < 0 && errno == EINTR) continue;
      if (size > 0) {
        MutexLock lock(&mutex_);
        (i == 0 ? out_ : err_).append(buffer, size);
        changed_.NotifyAll();
      } else {
        close(fds[i].fd);
        fds[i].fd = -1;  // poll passes it over
        fds[i].revents = 0;
        --open;
      }
    }
  }
  // Left a zombie while its end is awaited, and reaped under the lock: Signal never meets a pid
  // that has been given away.
  siginfo_t info;
  waitid(P_PID, pid_, &info, WEXITED | WNOWAIT);
  MutexLock lock(&mutex_);
  int status = 0;
  waitpid(pid_, &status, 0);
  exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  changed_.NotifyAll();
}

absl::StatusOr<int> Subprocess::Wait(absl::Duration timeout) {
  MutexLock lock(&mutex_);
  const auto has_ended = [this]()
                             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return exit_.has_value(); };
  if (!changed_.WaitFor(&mutex_, timeout, has_ended)) {
    return absl::DeadlineExceededError(
        absl::StrCat("still running after ", absl::FormatDuration(timeout)));
  }
  return *exit_;
}

absl::Status Subprocess::WaitForOutput(absl::string_view text, absl::Duration timeout) {
  MutexLock lock(&mutex_);
  const auto decided = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return exit_.has_value() || absl::StrContains(out_, text);
  };
  const bool in_time = changed_.WaitFor(&mutex_, timeout, decided);
  if (absl::StrContains(out_, text)) return absl::OkStatus();
  const std::string seen =
      absl::StrCat("no \"", text, "\"; standard output: ", out_, "\nstandard error: ", err_);
  return in_time ? absl::FailedPreconditionError(absl::StrCat("ended with ", *exit_, ": ", seen))
                 : absl::DeadlineExceededError(seen);
}

std::string Subprocess::out() const {
  MutexLock lock(&mutex_);
  return out_;
}

std::string Subprocess::err() const {
  MutexLock lock(&mutex_);
  return err_;
}

absl::StatusOr<Ended> RunToEnd(std::vector<std::string> command, absl::Duration timeout,
                               absl::string_view input) {
  const absl::StatusOr<std::unique_ptr<Subprocess>> process =
      Subprocess::Start(std::move(command), input);
  if (!process.ok()) return process.status();
  const absl::StatusOr<int> exit = (*process)->Wait(timeout);
  if (!exit.ok()) return exit.status();
  return Ended{*exit, (*process)->out(), (*process)->err()};
}

}  // namespace deltaserve
