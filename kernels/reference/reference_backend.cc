#include "kernels/reference/reference_backend.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/reference/reference_ops.h"

namespace deltaserve {
namespace {

constexpr int64_t kAlignment = 64;

class ReferenceBackend : public Backend {
 public:
  std::string_view device() const override { return "reference"; }
  bool Supports(DType model_dtype) const override { return model_dtype == DType::kF32; }
  int64_t page_tokens() const override { return reference::kPageTokens; }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    const int64_t padded = (size_bytes / kAlignment + 1) * kAlignment;
    void* data = std::aligned_alloc(kAlignment, padded);
    if (data == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("reference: cannot allocate ", size_bytes, " bytes of host memory"));
    }
    std::memset(data, 0, padded);
    return Buffer(data, size_bytes, [](void* pointer) { std::free(pointer); });
  }

  void CopyToDevice(void* destination, const void* source, int64_t size_bytes) override {
    if (size_bytes > 0) std::memcpy(destination, source, size_bytes);
  }

  absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) override {
    if (size_bytes > 0) std::memcpy(destination, source, size_bytes);
    return absl::OkStatus();
  }

  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(absl::Span<const HostMatrix> parts,
                                                           DType dtype) override {
    if (!Supports(dtype)) {
      return absl::InvalidArgumentError(
          absl::StrCat("reference: weights are held as fp32, not ", std::string(Name(dtype))));
    }
    if (parts.empty()) return absl::InvalidArgumentError("reference: a linear without parts");
    std::vector<float> weight;
    int64_t out = 0;
    for (const HostMatrix& part : parts) {
      if (part.in != parts[0].in) {
        return absl::InvalidArgumentError(absl::StrCat(
            "reference: stacked weights differ in their number of inputs: ", parts[0].in, " and ",
            part.in));
      }
      const int64_t count = part.out * part.in;
      if (part.dtype == DType::kF32) {
        const float* values = static_cast<const float*>(part.data);
        weight.insert(weight.end(), values, values + count);
      } else if (part.dtype == DType::kBF16) {
        const uint16_t* values = static_cast<const uint16_t*>(part.data);
        for (int64_t i = 0; i < count; ++i) weight.push_back(FromBFloat16(values[i]));
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("reference: cannot pack a weight of ", std::string(Name(part.dtype))));
      }
      out += part.out;
    }
    return std::make_unique<reference::ReferenceLinear>(std::move(weight), out, parts[0].in);
  }

  void Embed(const EmbedParams& p) override { reference::Embed(p); }
  void Linear(const LinearParams& p) override { reference::Linear(p); }
  void Boundary(const BoundaryParams& p) override { reference::Boundary(p); }
  void TwoLayerGate(const TwoLayerGateParams& p) override { reference::TwoLayerGate(p); }
  void PrepareAttention(const PrepareAttentionParams& p) override {
    reference::PrepareAttention(p);
  }
  void Attention(const AttentionParams& p) override { reference::Attention(p); }
  void HeadNormGate(const HeadNormGateParams& p) override { reference::HeadNormGate(p); }
  void SwiGlu(const SwiGluParams& p) override { reference::SwiGlu(p); }
  void GatherRows(const GatherRowsParams& p) override { reference::GatherRows(p); }
  void Sample(const SampleParams& p) override { reference::Sample(p); }
  void LogProbs(const LogProbsParams& p) override { reference::LogProbs(p); }
  void CopyRows(const CopyRowsParams& p) override { reference::CopyRows(p); }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace deltaserve
