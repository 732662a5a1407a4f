#include "tests/cuda_emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "The CUDA emulation switches stacks on x86-64 only."
#endif

// Saves the callee's registers and the stack pointer at *from, then goes on where `to` was saved. A
// kernel switches so often that swapcontext(), with its system call, would cost more than the
// kernel.
extern "C" void DeltaserveSwitchStack(void** from, void* to);
asm(R"(
.text
.globl DeltaserveSwitchStack
.type DeltaserveSwitchStack, @function
DeltaserveSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size DeltaserveSwitchStack, .-DeltaserveSwitchStack

// The first frame of a fiber: %rbx is its function, %r12 the argument.
.globl DeltaserveFiberEntry
.type DeltaserveFiberEntry, @function
DeltaserveFiberEntry:
  movq %r12, %rdi
  callq *%rbx
  ud2
.size DeltaserveFiberEntry, .-DeltaserveFiberEntry
)");
extern "C" void DeltaserveFiberEntry();

namespace deltaserve::cuda_emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

void StartSwitch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                 [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
#endif
}

void FinishSwitch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** old_bottom,
                  [[maybe_unused]] size_t* old_size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, old_bottom, old_size);
#endif
}

}  // namespace

Fiber::Fiber() {
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) {
    std::fprintf(stderr, "cuda_emulation: no memory for the stack of a thread\n");
    std::abort();
  }
  stack_ = static_cast<char*>(stack);
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
  munmap(stack_, kStackBytes);
}

void Fiber::Start(void (*function)(void*), void* argument) {
  function_ = function;
  argument_ = argument;
  done_ = false;
  // As DeltaserveSwitchStack leaves it: six registers, then where to return to. The stack is
  // aligned to 16 bytes where Main is called.
  auto** top = reinterpret_cast<void**>(stack_ + kStackBytes) - 2;
  *--top = reinterpret_cast<void*>(&DeltaserveFiberEntry);
  *--top = nullptr;                                // rbp
  *--top = reinterpret_cast<void*>(&Fiber::Main);  // rbx
  *--top = this;                                   // r12
  *--top = nullptr;                                // r13
  *--top = nullptr;                                // r14
  *--top = nullptr;                                // r15
  stack_pointer_ = top;
}

bool Fiber::Resume() {
  void* fake_stack = nullptr;
  StartSwitch(&fake_stack, stack_, kStackBytes);
  DeltaserveSwitchStack(&caller_pointer_, stack_pointer_);
  FinishSwitch(fake_stack, nullptr, nullptr);
  return done_;
}

void Fiber::Suspend() { SwitchOut(/*for_good=*/false); }

void Fiber::SwitchOut(bool for_good) {
  StartSwitch(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_size_);
  DeltaserveSwitchStack(&stack_pointer_, caller_pointer_);
  FinishSwitch(fake_stack_, &caller_bottom_, &caller_size_);
}

void Fiber::Main(Fiber* self) {
  FinishSwitch(nullptr, &self->caller_bottom_, &self->caller_size_);
  self->function_(self->argument_);
  self->done_ = true;
  self->SwitchOut(/*for_good=*/true);
}

}  // namespace deltaserve::cuda_emulation
