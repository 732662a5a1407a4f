#include "client/cli/interrupt.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>

namespace deltaserve::cli {
namespace {

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  waiter_ = std::thread(&Interrupt::Wait, this);
}

Interrupt::~Interrupt() {
  done_ = true;
  pthread_kill(waiter_.native_handle(), SIGTERM);
  waiter_.join();
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void Interrupt::Wait() {
  const sigset_t signals = Signals();
  for (int signal = 0; sigwait(&signals, &signal) == 0 && !done_;) {
    if (!source_.request_stop()) std::_Exit(128 + signal);
  }
}

}  // namespace deltaserve::cli
