// A flow of control with a stack of its own, within one thread of the operating system. It runs
// from Resume() until it suspends itself or ends.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_FIBER_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_FIBER_H_

#include <cstddef>

namespace deltaserve::cuda_emulation {

// Not thread-safe. May be started again once its function has returned. A fiber that is destroyed
// before that never ends: what lies on its stack is not destroyed.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Nothing runs before the first Resume().
  void Start(void (*function)(void*), void* argument);
  // From outside: runs the fiber until it suspends or ends. True once it has ended.
  bool Resume();
  // From inside: back to Resume().
  void Suspend();

 private:
  static void Main(Fiber* self);
  void SwitchOut(bool for_good);

  char* stack_;
  void* stack_pointer_ = nullptr;   // of the fiber, while it is suspended
  void* caller_pointer_ = nullptr;  // of whoever resumed it
  void (*function_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool done_ = true;
  // What AddressSanitizer wants to know of a switch.
  void* fake_stack_ = nullptr;
  const void* caller_bottom_ = nullptr;
  size_t caller_size_ = 0;
};

}  // namespace deltaserve::cuda_emulation

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_FIBER_H_
