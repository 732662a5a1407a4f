#include "tests/cuda_emulation/runtime.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};

struct EmulatedStream {
  EmulatedGraph* capturing = nullptr;
};

namespace deltaserve::cuda_emulation {
namespace {

constexpr size_t kTotalBytes = size_t{4} << 30;
// How much of a block is filled with NaN: all, but for those so large that it would take time.
constexpr size_t kGarbageBytes = 1 << 20;

int Environment(const char* name, int otherwise) {
  const char* number = std::getenv(name);
  return number == nullptr ? otherwise : std::atoi(number);
}

// How many devices there are; all are alike, with one memory.
int NumDevices() { return Environment("DELTASERVE_EMULATED_DEVICES", 1); }
// The graph in which all devices break; 0: none.
int FaultyGraph() { return Environment("DELTASERVE_EMULATED_FAULTY_GRAPH", 0); }

// For the whole process, as with a GPU.
struct State {
  std::atomic<bool> broken = false;
  std::atomic<int64_t> graph_launches = 0;
  std::mutex mutex;
  std::map<void*, size_t> allocated;
  size_t allocated_bytes = 0;
};

State& Global() {
  static auto& state = *new State;
  return state;
}

cudaError_t Health() { return Global().broken ? cudaErrorIllegalAddress : cudaSuccess; }

}  // namespace

void Break() { Global().broken = true; }
void Heal() { Global().broken = false; }
int64_t NumGraphLaunches() { return Global().graph_launches; }
int64_t AllocatedBytes() {
  const std::lock_guard lock(Global().mutex);
  return static_cast<int64_t>(Global().allocated_bytes);
}

cudaError_t Submit(cudaStream_t stream, std::function<void()> work) {
  if (Global().broken) return cudaErrorIllegalAddress;
  if (stream->capturing != nullptr) {
    stream->capturing->work.push_back(std::move(work));
  } else {
    work();
  }
  return cudaSuccess;
}

}  // namespace deltaserve::cuda_emulation

using deltaserve::cuda_emulation::FaultyGraph;
using deltaserve::cuda_emulation::Global;
using deltaserve::cuda_emulation::Health;
using deltaserve::cuda_emulation::NumDevices;
using deltaserve::cuda_emulation::Submit;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
  }
  return "unknown";
}
const char* cudaGetErrorString(cudaError_t) { return "an emulated error"; }
cudaError_t cudaGetLastError() { return Health(); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = NumDevices();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device < NumDevices() ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 4 : 9;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const std::lock_guard lock(Global().mutex);
  *total_bytes = deltaserve::cuda_emulation::kTotalBytes;
  *free_bytes = *total_bytes - Global().allocated_bytes;
  return Health();
}

cudaError_t cudaMalloc(void** address, size_t size_bytes) {
  if (Health() != cudaSuccess) return Health();
  const std::lock_guard lock(Global().mutex);
  if (Global().allocated_bytes + size_bytes > deltaserve::cuda_emulation::kTotalBytes) {
    return cudaErrorMemoryAllocation;
  }
  // Exactly as large as asked for, so that AddressSanitizer sees what lies beyond.
  if (posix_memalign(address, 256, size_bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*address, 0xff, std::min(size_bytes, deltaserve::cuda_emulation::kGarbageBytes));
  Global().allocated[*address] = size_bytes;
  Global().allocated_bytes += size_bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  if (address == nullptr) return cudaSuccess;
  const std::lock_guard lock(Global().mutex);
  const auto found = Global().allocated.find(address);
  if (found == Global().allocated.end()) return cudaErrorInvalidValue;
  Global().allocated_bytes -= found->second;
  Global().allocated.erase(found);
  std::free(address);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** address, size_t size_bytes) {
  *address = std::malloc(size_bytes);
  return *address != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* address) {
  std::free(address);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* address, int value, size_t size_bytes, cudaStream_t stream) {
  return Submit(stream, [=] { std::memset(address, value, size_bytes); });
}
cudaError_t cudaMemcpyAsync(void* destination, const void* source, size_t size_bytes,
                            cudaMemcpyKind, cudaStream_t stream) {
  return Submit(stream, [=] { std::memcpy(destination, source, size_bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  return Health();
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return Health();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return Health(); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->capturing != nullptr) return cudaErrorInvalidValue;
  stream->capturing = new EmulatedGraph;
  return Health();
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->capturing, nullptr);
  return Health();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return Health();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (++Global().graph_launches == FaultyGraph()) Global().broken = true;
  return Submit(stream, [executable] {
    for (const std::function<void()>& work : executable->work) work();
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
