// The end of gRPC's callback calls as ThreadSanitizer should see it; abseil_order.cc says how and
// why.
//
// A call counts down two atomics, one until it may be told that it was cancelled and one until it
// is done. Some of that is compiled into gRPC's headers, and seen, some into its library, and not.
// Whoever counts to the end has seen what the others did before: that is all that is told here.
#include <dlfcn.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <thread>

namespace grpc::internal {

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  using Function = void(ServerCallbackCall*, bool);
  static auto* const schedule = reinterpret_cast<Function*>(
      dlsym(RTLD_NEXT, "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb"));
  __tsan_acquire(&callbacks_outstanding_);
  schedule(this, inline_ondone);
}

// In place of gRPC's, which has an executor do the same, and counts down in the library.
void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  __tsan_acquire(&on_cancel_conditions_remaining_);
  Ref();
  std::thread([this, reactor] {
    reactor->OnCancel();
    MaybeDone();
  }).detach();
}

}  // namespace grpc::internal
