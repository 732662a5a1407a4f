#include "kernels/cuda/graph_cache.h"

#include <string_view>

namespace deltaserve::cuda {

GraphCache::~GraphCache() {
  for (const Entry& entry : entries_) {
    if (entry.executable != nullptr) cudaGraphExecDestroy(entry.executable);
  }
}

cudaError_t GraphCache::Run(const std::vector<char>& list, cudaStream_t stream,
                            const std::function<void()>& issue) {
  const uint64_t hash = std::hash<std::string_view>()({list.data(), list.size()});
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) {
    if (entries_.size() == max_graphs_) {
      if (entries_.back().executable != nullptr) cudaGraphExecDestroy(entries_.back().executable);
      by_hash_.erase(entries_.back().hash);
      entries_.pop_back();
    }
    entries_.push_front({hash, {}, nullptr});
    by_hash_[hash] = entries_.begin();
    issue();
    return cudaSuccess;
  }

  entries_.splice(entries_.begin(), entries_, found->second);
  Entry& entry = entries_.front();
  if (entry.executable == nullptr) {
    const cudaError_t error = Capture(entry, stream, issue);
    if (error != cudaSuccess) return error;
    entry.list = list;
  } else if (entry.list != list) {  // another list of the same hash
    issue();
    return cudaSuccess;
  }
  return cudaGraphLaunch(entry.executable, stream);
}

cudaError_t GraphCache::Capture(Entry& entry, cudaStream_t stream,
                                const std::function<void()>& issue) {
  cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return error;
  issue();
  cudaGraph_t graph = nullptr;
  error = cudaStreamEndCapture(stream, &graph);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&entry.executable, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  return error;
}

}  // namespace deltaserve::cuda
