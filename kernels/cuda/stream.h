// What the device is told to do, in order. Commands are noted down first and go to the device
// together, at Flush(): a list that comes again word for word, as that of a decode step does, is
// then one CUDA graph instead of a hundred launches, and nobody above has to know of graphs.
#ifndef DELTASERVE_KERNELS_CUDA_STREAM_H_
#define DELTASERVE_KERNELS_CUDA_STREAM_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace deltaserve::cuda {

struct LaunchShape {
  dim3 grid;
  unsigned block_threads = 0;
  unsigned shared_bytes = 0;  // dynamic
};

// Blocks may use more dynamic shared memory than this only after they have asked for it.
inline constexpr unsigned kDefaultSharedBytes = 48 << 10;

class GraphCache;

// The first fault sticks, and nothing runs after it. One thread at a time; make and use it with its
// device current.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Calls kernel(args) on the device. Nothing where the grid is empty.
  template <typename Args>
  void Launch(void (*kernel)(Args), const LaunchShape& shape, const Args& args) {
    if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
    Note(&IssueLaunch<Args>, reinterpret_cast<const void*>(kernel), shape, args);
  }
  // Calls function(args, *this) when the list goes to the device: for calls of libraries, on get().
  template <typename Args>
  void Call(void (*function)(const Args&, Stream&), const Args& args) {
    Note(&IssueCall<Args>, reinterpret_cast<const void*>(function), {}, args);
  }

  void Flush();
  // Flushes and waits. Empty: all is well.
  const std::string& Synchronize();

  cudaStream_t get() const { return stream_; }
  // What went wrong first; empty: nothing.
  const std::string& fault() const { return fault_; }
  // Notes a fault of `what` unless `error` is success. True: all is well so far.
  bool Check(cudaError_t error, const char* what);
  void Fail(std::string fault);

 private:
  struct Command {
    void (*issue)(const Command&, const void* args, Stream&);
    const void* function;
    LaunchShape shape;
    unsigned args_bytes;
  };

  template <typename Args>
  static void IssueLaunch(const Command& command, const void* args, Stream& stream) {
    const auto kernel = reinterpret_cast<void (*)(Args)>(const_cast<void*>(command.function));
    if (command.shape.shared_bytes > kDefaultSharedBytes) {
      stream.Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(command.shape.shared_bytes)),
                   "cudaFuncSetAttribute");
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = command.shape.grid;
    config.blockDim = dim3{command.shape.block_threads, 1, 1};
    config.dynamicSmemBytes = command.shape.shared_bytes;
    config.stream = stream.get();
    Args copy;
    std::memcpy(static_cast<void*>(&copy), args, sizeof(Args));
    stream.Check(cudaLaunchKernelEx(&config, kernel, copy), "a kernel's launch");
  }

  template <typename Args>
  static void IssueCall(const Command& command, const void* args, Stream& stream) {
    Args copy;
    std::memcpy(static_cast<void*>(&copy), args, sizeof(Args));
    reinterpret_cast<void (*)(const Args&, Stream&)>(const_cast<void*>(command.function))(copy,
                                                                                          stream);
  }

  template <typename Args>
  void Note(void (*issue)(const Command&, const void*, Stream&), const void* function,
            const LaunchShape& shape, Args args) {
#if !defined(__clang__)
    __builtin_clear_padding(&args);  // lists are compared byte by byte
#endif
    NoteBytes(issue, function, shape, &args, sizeof(args));
  }
  void NoteBytes(void (*issue)(const Command&, const void*, Stream&), const void* function,
                 const LaunchShape& shape, const void* args, size_t args_bytes);
  void IssueAll();

  cudaStream_t stream_ = nullptr;
  std::string fault_;
  std::vector<char> list_;  // each command, then its arguments
  int64_t num_commands_ = 0;
  std::unique_ptr<GraphCache> graphs_;
};

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_STREAM_H_
