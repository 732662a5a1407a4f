#include "kernels/cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hwy/targets.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/workers.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace deltaserve {
namespace {

bool Includes(dnnl::cpu_isa isa, dnnl::cpu_isa part) {
  return (static_cast<int>(isa) & static_cast<int>(part)) == static_cast<int>(part);
}

// Highway must not go beyond what oneDNN was told to stay within.
void RestrictHighway(dnnl::cpu_isa isa) {
  int64_t disabled = 0;
  if (!Includes(isa, dnnl::cpu_isa::avx512_core)) disabled |= HWY_AVX3 | HWY_AVX3_DL;
  if (!Includes(isa, dnnl::cpu_isa::avx2)) disabled |= HWY_AVX2;
  if (disabled != 0) hwy::DisableTargets(disabled);
}

class CpuBackend : public Backend {
 public:
  CpuBackend(int num_threads, dnnl::cpu_isa isa)
      : workers_(num_threads),
        linear_(Includes(isa, dnnl::cpu_isa::avx512_core_bf16)
                    ? cpu::MakeOneDnnLinear(workers_.count())
                    : cpu::MakeSimdLinear()) {}

  std::string_view device() const override { return "cpu"; }
  bool Supports(DType model_dtype) const override {
    return model_dtype == DType::kF32 || model_dtype == DType::kBF16;
  }
  int64_t page_tokens() const override { return cpu::kPageTokens; }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    cpu::AlignedMemory memory = cpu::AllocateAligned(size_bytes);
    if (memory == nullptr) return cpu::CannotAllocate(size_bytes);
    const cpu::AlignedMemoryDeleter deleter = memory.get_deleter();
    return Buffer(memory.release(), size_bytes, deleter);
  }

  void CopyToDevice(void* destination, const void* source, int64_t size_bytes) override {
    if (size_bytes > 0) std::memcpy(destination, source, size_bytes);
  }
  absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) override {
    if (!status_.ok()) return status_;
    if (size_bytes > 0) std::memcpy(destination, source, size_bytes);
    return absl::OkStatus();
  }
  absl::Status Synchronize() override { return status_; }
  void ReleaseThread() override { cpu::Workers::ReleaseThread(); }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(absl::Span<const HostMatrix> parts,
                                                           DType dtype) override {
    if (!Supports(dtype)) {
      return absl::InvalidArgumentError(
          absl::StrCat("cpu: weights are held as fp32 or bf16, not ", std::string(Name(dtype))));
    }
    if (parts.empty()) return absl::InvalidArgumentError("cpu: a linear without parts");
    for (const HostMatrix& part : parts) {
      if (part.in != parts[0].in) {
        return absl::InvalidArgumentError(
            absl::StrCat("cpu: stacked weights differ in their number of inputs: ", parts[0].in,
                         " and ", part.in));
      }
      if (!Supports(part.dtype)) {
        return absl::InvalidArgumentError(
            absl::StrCat("cpu: cannot pack a weight of ", std::string(Name(part.dtype))));
      }
    }
    try {
      return linear_->Pack(parts, dtype);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("cpu: out of host memory while packing a weight");
    }
  }

  void Linear(const LinearParams& p) override {
    if (p.x.dim(0) == 0) return;
    Guarded("Linear", [&] { return linear_->Run(p, workers_); });
  }
  void Boundary(const BoundaryParams& p) override {
    if (p.src.dim(1) > cpu::kMaxValueChannels) {
      Guarded("Boundary", [&] {
        return absl::UnimplementedError(absl::StrCat("cpu: d_v = ", p.src.dim(1),
                                                     " is above the largest supported, ",
                                                     cpu::kMaxValueChannels));
      });
      return;
    }
    Run("Boundary", cpu::Boundary, p);
  }
  void Embed(const EmbedParams& p) override { Run("Embed", cpu::Embed, p); }
  void TwoLayerGate(const TwoLayerGateParams& p) override {
    Run("TwoLayerGate", cpu::TwoLayerGate, p);
  }
  void PrepareAttention(const PrepareAttentionParams& p) override {
    Run("PrepareAttention", cpu::PrepareAttention, p);
  }
  void Attention(const AttentionParams& p) override { Run("Attention", cpu::Attention, p); }
  void HeadNormGate(const HeadNormGateParams& p) override {
    Run("HeadNormGate", cpu::HeadNormGate, p);
  }
  void SwiGlu(const SwiGluParams& p) override { Run("SwiGlu", cpu::SwiGlu, p); }
  void GatherRows(const GatherRowsParams& p) override { Run("GatherRows", cpu::GatherRows, p); }
  void Sample(const SampleParams& p) override { Run("Sample", cpu::Sample, p); }
  void LogProbs(const LogProbsParams& p) override { Run("LogProbs", cpu::LogProbs, p); }
  void CopyRows(const CopyRowsParams& p) override { Run("CopyRows", cpu::CopyRows, p); }

 private:
  // Keeps the first failure; after it nothing runs any more.
  template <typename Op>
  void Guarded(const char* name, Op&& op) {
    if (!status_.ok()) return;
    try {
      status_ = op();
    } catch (const std::bad_alloc&) {
      status_ = absl::ResourceExhaustedError(
          absl::StrCat("cpu: ", name, " is out of host memory for its scratch"));
    }
  }

  template <typename Params>
  void Run(const char* name, void (*op)(const Params&, cpu::Workers&), const Params& p) {
    Guarded(name, [&] {
      op(p, workers_);
      return absl::OkStatus();
    });
  }

  cpu::Workers workers_;
  std::unique_ptr<cpu::LinearKernel> linear_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu: cannot use ", options.num_threads, " threads"));
  }
  // AMX adds in an order of its own, which is not known to be the same for every number of rows.
  // Without effect once oneDNN has run, which is then within this bound already.
  if (std::getenv("DNNL_MAX_CPU_ISA") == nullptr) {
    dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
  }
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  RestrictHighway(isa);
  try {
    return std::make_unique<CpuBackend>(options.num_threads, isa);
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrCat("cpu: oneDNN does not start: ", error.what()));
  }
}

}  // namespace deltaserve
