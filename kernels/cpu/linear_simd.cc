#include <algorithm>
#include <new>
#include <utility>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/simd-inl.h"

#ifndef DELTASERVE_KERNELS_CPU_LINEAR_SIMD_ONCE
#define DELTASERVE_KERNELS_CPU_LINEAR_SIMD_ONCE
namespace deltaserve::cpu {

// Outputs of one panel. A panel holds [in, kPanel] weights, the last one padded with zeros.
inline constexpr int64_t kPanel = 32;
// Rows of x that stay in cache while a worker's panels pass by.
inline constexpr int64_t kBlockRows = 48;

// Rows [begin, end) times one panel.
struct PanelProduct {
  const float* x = nullptr;  // [rows, in], dense
  const float* panel = nullptr;
  int64_t in = 0;
  int64_t begin = 0, end = 0;
  int64_t first_out = 0;  // of the panel
  TensorView y;
};

}  // namespace deltaserve::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace deltaserve::cpu::HWY_NAMESPACE {
namespace {

constexpr int kTileVectors = 2;
constexpr int64_t kTileOuts = kTileVectors * kLanes;
// As many accumulators as the registers hold.
constexpr int kTileRows = kLanes == 16 ? 12 : 4;

template <int kRows, typename T>
HWY_INLINE void MultiplyTile(const PanelProduct& product, int64_t row, int64_t column) {
  Vec sum[kRows][kTileVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kTileVectors; ++n) sum[r][n] = hn::Zero(kFloat);
  }
  const float* x = product.x + row * product.in;
  const float* weight = product.panel + column;
  for (int64_t k = 0; k < product.in; ++k, weight += kPanel) {
    Vec w[kTileVectors];
    for (int n = 0; n < kTileVectors; ++n) w[n] = hn::LoadU(kFloat, weight + n * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Vec x_k = hn::Set(kFloat, x[r * product.in + k]);
      for (int n = 0; n < kTileVectors; ++n) sum[r][n] = hn::MulAdd(x_k, w[n], sum[r][n]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    T* y = product.y.Row<T>(row + r);
    for (int n = 0; n < kTileVectors; ++n) {
      const int64_t out = product.first_out + column + n * kLanes;
      const int64_t left = product.y.dim(1) - out;
      if (left >= kLanes) {
        Store(sum[r][n], y + out, Whole());
      } else if (left > 0) {
        Store(sum[r][n], y + out, Part{left});
      }
    }
  }
}

template <typename T>
void MultiplyPanelInto(const PanelProduct& product) {
  for (int64_t column = 0; column < kPanel; column += kTileOuts) {
    int64_t row = product.begin;
    for (; row + kTileRows <= product.end; row += kTileRows) {
      MultiplyTile<kTileRows, T>(product, row, column);
    }
    for (; row + 4 <= product.end; row += 4) MultiplyTile<4, T>(product, row, column);
    for (; row < product.end; ++row) MultiplyTile<1, T>(product, row, column);
  }
}

void MultiplyPanel(const PanelProduct& product) {
  VisitDType(product.y.dtype, [&](auto type) { MultiplyPanelInto<decltype(type)>(product); });
}

}  // namespace
}  // namespace deltaserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve::cpu {
namespace {

HWY_EXPORT(MultiplyPanel);

class SimdPackedLinear : public PackedLinear {
 public:
  SimdPackedLinear(int64_t in, int64_t out, std::shared_ptr<void> data)
      : in_(in), out_(out), data_(std::move(data)) {}

  static int64_t SizeBytes(int64_t in, int64_t out) {
    return NumPanels(out) * in * kPanel * static_cast<int64_t>(sizeof(float));
  }
  static int64_t NumPanels(int64_t out) { return (out + kPanel - 1) / kPanel; }

  int64_t in_features() const override { return in_; }
  int64_t out_features() const override { return out_; }
  int64_t size_bytes() const override { return SizeBytes(in_, out_); }
  int64_t num_panels() const { return NumPanels(out_); }
  const float* panel(int64_t n) const {
    return static_cast<const float*>(data_.get()) + n * in_ * kPanel;
  }

 private:
  int64_t in_, out_;
  std::shared_ptr<void> data_;
};

float Widen(float value) { return value; }
float Widen(BFloat16 value) { return FromBFloat16(value.bits); }

template <typename T>
void PackPanels(const T* from, int64_t in, int64_t out, float* panel) {
  for (int64_t first = 0; first < out; first += kPanel, panel += in * kPanel) {
    const int64_t outs = std::min(kPanel, out - first);
    for (int64_t k = 0; k < in; ++k) {
      for (int64_t n = 0; n < outs; ++n) panel[k * kPanel + n] = Widen(from[(first + n) * in + k]);
    }
  }
}

class SimdLinear : public LinearKernel {
 public:
  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::Span<const HostMatrix> parts,
                                                     DType dtype) override {
    absl::StatusOr<StackedMatrix> matrix = StackParts(parts, dtype);
    if (!matrix.ok()) return matrix.status();
    const int64_t in = matrix->in, out = matrix->out;
    const int64_t size_bytes = SimdPackedLinear::SizeBytes(in, out);
    std::shared_ptr<void> data = arena_.Allocate(size_bytes);
    if (data == nullptr) return CannotAllocate(size_bytes);
    VisitDType(dtype, [&](auto type) {
      PackPanels(static_cast<const decltype(type)*>(matrix->data), in, out,
                 static_cast<float*>(data.get()));
    });
    return std::make_unique<SimdPackedLinear>(in, out, std::move(data));
  }

  absl::Status Run(const LinearParams& p, Workers& workers) override {
    const auto& weight = static_cast<const SimdPackedLinear&>(*p.weight);
    const int64_t rows = p.x.dim(0), in = weight.in_features();
    const float* x = p.x.As<float>();
    if (p.x.dtype != DType::kF32 || !p.x.dense()) {
      x = Staged(p.x, workers);
    }
    const auto multiply = HWY_DYNAMIC_DISPATCH(MultiplyPanel);
    constexpr int64_t kGrain = 1 << 16;  // multiply-adds that are worth waking a worker for
    const int64_t grain = kGrain / (rows * in * kPanel + 1) + 1;
    workers.ForRanges(weight.num_panels(), grain, [&](int64_t first, int64_t last, int) {
      for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
        const int64_t end = std::min(rows, begin + kBlockRows);
        for (int64_t n = first; n < last; ++n) {
          multiply({x, weight.panel(n), in, begin, end, n * kPanel, p.y});
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  const float* Staged(const TensorView& x, Workers& workers) {
    const int64_t rows = x.dim(0), in = x.dim(1);
    const int64_t size_bytes = rows * in * static_cast<int64_t>(sizeof(float));
    if (size_bytes > staging_bytes_) {
      staging_bytes_ = 0;
      staging_ = AllocateAligned(size_bytes);
      if (staging_ == nullptr) throw std::bad_alloc();
      staging_bytes_ = size_bytes;
    }
    float* staged = static_cast<float*>(staging_.get());
    workers.ForRanges(rows, 32768 / in + 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        Convert(x.Rows(row, 1).data, x.dtype, staged + row * in, DType::kF32, in);
      }
    });
    return staged;
  }

  WeightArena arena_;
  AlignedMemory staging_;
  int64_t staging_bytes_ = 0;
};

}  // namespace

std::unique_ptr<LinearKernel> MakeSimdLinear() { return std::make_unique<SimdLinear>(); }

}  // namespace deltaserve::cpu
#endif  // HWY_ONCE
