#include "kernels/cuda/stream.h"

#include <utility>

#include "kernels/cuda/graph_cache.h"

namespace deltaserve::cuda {
namespace {

// Of one device. A decode step is a list of a few kilobytes for each layer; a graph of it takes
// some hundred kilobytes of device memory.
constexpr size_t kMaxGraphs = 128;
// Shorter lists are launched as quickly as they are looked up.
constexpr int64_t kMinGraphCommands = 8;
// Longer lists start before they are complete.
constexpr int64_t kMaxCommands = 4096;

}  // namespace

Stream::Stream() : graphs_(std::make_unique<GraphCache>(kMaxGraphs)) {
  Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}

Stream::~Stream() {
  graphs_.reset();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

bool Stream::Check(cudaError_t error, const char* what) {
  if (error != cudaSuccess && fault_.empty()) {
    Fail(std::string(what) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
  }
  return fault_.empty();
}

void Stream::Fail(std::string fault) {
  if (fault_.empty()) fault_ = std::move(fault);
}

void Stream::NoteBytes(void (*issue)(const Command&, const void*, Stream&), const void* function,
                       const LaunchShape& shape, const void* args, size_t args_bytes) {
  if (!fault_.empty()) return;
  if (num_commands_ == kMaxCommands) Flush();
  Command command;
  std::memset(static_cast<void*>(&command), 0, sizeof(command));  // gaps too: lists are compared
  command.issue = issue;
  command.function = function;
  command.shape = shape;
  command.args_bytes = static_cast<unsigned>(args_bytes);
  const size_t begin = list_.size();
  list_.resize(begin + sizeof(command) + args_bytes);
  std::memcpy(list_.data() + begin, &command, sizeof(command));
  std::memcpy(list_.data() + begin + sizeof(command), args, args_bytes);
  ++num_commands_;
}

void Stream::IssueAll() {
  for (size_t at = 0; at < list_.size() && fault_.empty();) {
    Command command;
    std::memcpy(static_cast<void*>(&command), list_.data() + at, sizeof(command));
    const char* args = list_.data() + at + sizeof(command);
    command.issue(command, args, *this);
    at += sizeof(command) + command.args_bytes;
  }
}

void Stream::Flush() {
  if (fault_.empty() && num_commands_ >= kMinGraphCommands) {
    Check(graphs_->Run(list_, stream_, [this] { IssueAll(); }), "a graph of commands");
  } else {
    IssueAll();
  }
  list_.clear();
  num_commands_ = 0;
}

const std::string& Stream::Synchronize() {
  Flush();
  if (fault_.empty()) Check(cudaStreamSynchronize(stream_), "the device");
  return fault_;
}

}  // namespace deltaserve::cuda
