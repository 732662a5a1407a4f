#ifndef DELTASERVE_CLIENT_CLI_INTERRUPT_H_
#define DELTASERVE_CLIENT_CLI_INTERRUPT_H_

#include <atomic>
#include <stop_token>
#include <thread>

namespace deltaserve::cli {

// Turns SIGINT and SIGTERM into a stop request while it lives; a second signal ends the process at
// once. Make it before any other thread: threads inherit the signal mask it sets.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }

 private:
  void Wait();

  std::stop_source source_;
  std::atomic<bool> done_ = false;
  std::thread waiter_;
};

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_INTERRUPT_H_
