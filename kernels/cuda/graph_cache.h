#ifndef DELTASERVE_KERNELS_CUDA_GRAPH_CACHE_H_
#define DELTASERVE_KERNELS_CUDA_GRAPH_CACHE_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

namespace deltaserve::cuda {

// CUDA graphs of lists of commands that came more than once. Not thread-safe.
class GraphCache {
 public:
  // Keeps the `max_graphs` that were used last.
  explicit GraphCache(size_t max_graphs) : max_graphs_(max_graphs) {}
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Runs a list on the stream: `issue` puts it there command by command, which is done for a new
  // list as it is, the second time under capture, and later no more.
  cudaError_t Run(const std::vector<char>& list, cudaStream_t stream,
                  const std::function<void()>& issue);

 private:
  struct Entry {
    uint64_t hash;
    std::vector<char> list;                // empty until the list has come twice
    cudaGraphExec_t executable = nullptr;  // likewise
  };

  cudaError_t Capture(Entry& entry, cudaStream_t stream, const std::function<void()>& issue);

  const size_t max_graphs_;
  std::list<Entry> entries_;  // the last used first
  std::unordered_map<uint64_t, std::list<Entry>::iterator> by_hash_;
};

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_GRAPH_CACHE_H_
