#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/memory.h"

namespace deltaserve {
namespace {

using cuda::CheckParts;
using cuda::DeviceLinear;

constexpr int kOldestMajor = 8;
// Between the commands of one op; larger ops go in parts.
constexpr int64_t kScratchBytes = 64 << 20;
// Rows of logits at a time: all of a step that decodes 256 sequences.
constexpr int64_t kLogitRows = 256;

std::string Describe(cudaError_t error) {
  return absl::StrCat(cudaGetErrorName(error), ": ", cudaGetErrorString(error));
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const CudaOptions& options, int64_t memory_limit_bytes)
      : device_(options.device),
        name_(absl::StrCat("cuda:", options.device)),
        memory_(options.device, memory_limit_bytes),
        product_(options.row_invariant ? cuda::MakePlainProduct() : cuda::MakeProduct()),
        use_tensor_cores_(!options.row_invariant) {}

  ~CudaBackend() override {
    cudaSetDevice(device_);
    stream_.Synchronize();
  }

  absl::Status Start() {
    absl::StatusOr<Buffer> scratch = memory_.Allocate(kScratchBytes);
    if (!scratch.ok()) return scratch.status();
    scratch_ = *std::move(scratch);
    absl::StatusOr<Buffer> tickets = Allocate(cuda::kNumTickets * 4);
    if (!tickets.ok()) return tickets.status();
    tickets_ = *std::move(tickets);
    return Status(stream_);
  }

  std::string_view device() const override { return name_; }
  bool Supports(DType model_dtype) const override {
    return model_dtype == DType::kF32 || model_dtype == DType::kBF16;
  }
  int64_t page_tokens() const override { return cuda::kPageTokens; }
  StepTraits step_traits() const override {
    return {
        .recurring_shapes = true, .row_alignment = cuda::kInAlignment, .logit_rows = kLogitRows};
  }
  std::optional<MemoryBudget> memory() const override { return memory_.budget(); }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    absl::StatusOr<Buffer> buffer = memory_.Allocate(size_bytes);
    if (!buffer.ok()) return buffer.status();
    const std::lock_guard lock(load_mutex_);
    load_stream_.Check(cudaMemsetAsync(buffer->data(), 0, size_bytes, load_stream_.get()),
                       "cudaMemset");
    load_stream_.Synchronize();
    if (absl::Status status = Status(load_stream_); !status.ok()) return status;
    return buffer;
  }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(absl::Span<const HostMatrix> parts,
                                                           DType dtype) override {
    if (absl::Status status = CheckParts(name_, parts, dtype); !status.ok()) return status;
    int64_t out = 0;
    for (const HostMatrix& part : parts) out += part.out;
    const int64_t in = parts[0].in;
    const int64_t in_stride =
        (in + cuda::kInAlignment - 1) / cuda::kInAlignment * cuda::kInAlignment;
    absl::StatusOr<Buffer> buffer = memory_.Allocate(out * in_stride * SizeBytes(dtype));
    if (!buffer.ok()) return buffer.status();
    const std::lock_guard lock(load_mutex_);
    cuda::UploadParts(parts, dtype, in_stride, buffer->data(), load_copies_);
    load_stream_.Synchronize();
    if (absl::Status status = Status(load_stream_); !status.ok()) return status;
    return std::make_unique<DeviceLinear>(*std::move(buffer), dtype, out, in, in_stride);
  }

  void CopyToDevice(void* destination, const void* source, int64_t size_bytes) override {
    stream_.Check(cudaSetDevice(device_), "cudaSetDevice");
    copies_.ToDevice(destination, source, size_bytes);
  }
  absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) override {
    stream_.Check(cudaSetDevice(device_), "cudaSetDevice");
    copies_.ToHost(destination, source, size_bytes);
    return Status(stream_);
  }
  absl::Status Synchronize() override {
    stream_.Check(cudaSetDevice(device_), "cudaSetDevice");
    stream_.Synchronize();
    return Status(stream_);
  }

  void Linear(const LinearParams& p) override {
    cuda::OpContext context = Context();
    product_->Run(p, context);
  }
  void Embed(const EmbedParams& p) override { Run(cuda::Embed, p); }
  void Boundary(const BoundaryParams& p) override { Run(cuda::Boundary, p); }
  void TwoLayerGate(const TwoLayerGateParams& p) override { Run(cuda::TwoLayerGate, p); }
  void PrepareAttention(const PrepareAttentionParams& p) override {
    Run(cuda::PrepareAttention, p);
  }
  void Attention(const AttentionParams& p) override { Run(cuda::Attention, p); }
  void HeadNormGate(const HeadNormGateParams& p) override { Run(cuda::HeadNormGate, p); }
  void SwiGlu(const SwiGluParams& p) override { Run(cuda::SwiGlu, p); }
  void GatherRows(const GatherRowsParams& p) override { Run(cuda::GatherRows, p); }
  void Sample(const SampleParams& p) override { Run(cuda::Sample, p); }
  void LogProbs(const LogProbsParams& p) override { Run(cuda::LogProbs, p); }
  void CopyRows(const CopyRowsParams& p) override { Run(cuda::CopyRows, p); }

 private:
  template <typename Params>
  void Run(void (*op)(const Params&, cuda::OpContext&), const Params& p) {
    cuda::OpContext context = Context();
    op(p, context);
  }

  cuda::OpContext Context() {
    return {.stream = stream_,
            .scratch = static_cast<char*>(scratch_.data()),
            .scratch_bytes = scratch_.size_bytes(),
            .tickets = static_cast<unsigned*>(tickets_.data()),
            .use_tensor_cores = use_tensor_cores_};
  }

  absl::Status Status(const cuda::Stream& stream) const {
    if (stream.fault().empty()) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(name_, ": ", stream.fault()));
  }

  const int device_;
  const std::string name_;
  cuda::DeviceMemory memory_;
  // Of the engine's thread.
  cuda::Stream stream_;
  cuda::StagedCopies copies_{stream_};
  // Of whoever loads a model.
  std::mutex load_mutex_;
  cuda::Stream load_stream_;
  cuda::StagedCopies load_copies_{load_stream_};

  const std::unique_ptr<cuda::MatrixProduct> product_;
  const bool use_tensor_cores_;
  Buffer scratch_, tickets_;
};

}  // namespace

int NumCudaDevices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return absl::NotFoundError(
        absl::StrCat("cuda:", options.device, ": no device answers: ", Describe(error)));
  }
  if (options.device < 0 || options.device >= count) {
    return absl::NotFoundError(
        absl::StrCat("cuda:", options.device, ": there is no such device among ", count));
  }
  if (!(options.memory_utilization > 0) || options.memory_utilization > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cuda: a memory utilization of ", options.memory_utilization, " is not in (0, 1]"));
  }
  const auto failed = [&](cudaError_t error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuda:", options.device, ": ", Describe(error)));
  };
  if (const cudaError_t error = cudaSetDevice(options.device); error != cudaSuccess) {
    return failed(error);
  }
  int major = 0;
  if (const cudaError_t error =
          cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, options.device);
      error != cudaSuccess) {
    return failed(error);
  }
  if (major < kOldestMajor) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuda:", options.device, ": compute capability ", major, ".x is below 8.0"));
  }
  size_t free_bytes = 0, total_bytes = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes); error != cudaSuccess) {
    return failed(error);
  }
  const auto limit_bytes =
      static_cast<int64_t>(options.memory_utilization * static_cast<double>(free_bytes));
  auto backend = std::make_unique<CudaBackend>(options, limit_bytes);
  if (absl::Status status = backend->Start(); !status.ok()) return status;
  return backend;
}

}  // namespace deltaserve
