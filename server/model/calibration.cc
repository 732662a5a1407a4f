#include "server/model/calibration.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

constexpr int64_t kIn = 2048;                  // features
constexpr int64_t kMostWeights = 64 << 20;     // past every cache
constexpr int64_t kMostRows = 512;             // by then a product is bound by arithmetic
constexpr int kRuns = 8;                       // of which the fastest counts
constexpr SteadyNs kLongRead = 2'000'000;      // that a clock measures well
constexpr SteadyNs kLongProduct = 20'000'000;  // beyond which more rows take too long to try

// y = x Wᵀ with a weight [out, kIn].
class Product {
 public:
  static absl::StatusOr<Product> Make(Backend& backend, DType dtype, int64_t out) {
    Product product(backend, dtype, out);
    // Nothing is zero: a device may multiply zeros faster.
    const std::vector<uint16_t> weight(out * kIn, ToBFloat16(0.5f));
    const HostMatrix matrix = {weight.data(), DType::kBF16, out, kIn};
    ASSIGN_OR_RETURN(product.weight_, backend.PackLinear({&matrix, 1}, dtype));
    const std::vector<uint16_t> x(kMostRows * kIn * SizeBytes(dtype) / 2, ToBFloat16(0.5f));
    ASSIGN_OR_RETURN(product.x_, backend.Allocate(kMostRows * kIn * SizeBytes(dtype)));
    backend.CopyToDevice(product.x_.data(), x.data(), product.x_.size_bytes());
    ASSIGN_OR_RETURN(product.y_, backend.Allocate(kMostRows * out * SizeBytes(DType::kF32)));
    return product;
  }

  double size_bytes() const { return static_cast<double>(out_ * kIn * SizeBytes(dtype_)); }
  double Flops(int64_t rows) const { return 2.0 * static_cast<double>(rows * out_ * kIn); }

  // The fastest of some runs.
  absl::StatusOr<SteadyNs> Time(int64_t rows, const Clock& clock) const {
    LinearParams linear;
    linear.weight = weight_.get();
    linear.x = x_.View(dtype_, {rows, kIn});
    linear.y = y_.View(DType::kF32, {rows, out_});
    SteadyNs fastest = 0;
    for (int run = 0; run < kRuns; ++run) {
      const SteadyNs begin = clock.Now();
      backend_->Linear(linear);
      RETURN_IF_ERROR(backend_->Synchronize());
      const SteadyNs elapsed = std::max<SteadyNs>(1, clock.Now() - begin);
      fastest = run == 0 ? elapsed : std::min(fastest, elapsed);
    }
    return fastest;
  }

 private:
  Product(Backend& backend, DType dtype, int64_t out)
      : backend_(&backend), dtype_(dtype), out_(out) {}

  Backend* backend_;
  DType dtype_;
  int64_t out_;
  std::unique_ptr<PackedLinear> weight_;
  Buffer x_, y_;
};

double PerSecond(double amount, SteadyNs ns) { return amount * 1e9 / static_cast<double>(ns); }

}  // namespace

absl::StatusOr<DevicePeaks> MeasurePeaks(Backend& backend, DType dtype, const Clock& clock) {
  DevicePeaks peaks;
  for (int64_t out = 512;; out *= 2) {
    ASSIGN_OR_RETURN(const Product product, Product::Make(backend, dtype, out));
    ASSIGN_OR_RETURN(const SteadyNs one_row, product.Time(1, clock));
    if (one_row < kLongRead && 2 * out * kIn <= kMostWeights) continue;

    peaks.bytes_per_second = PerSecond(product.size_bytes(), one_row);
    for (int64_t rows = 1; rows <= kMostRows; rows *= 2) {
      ASSIGN_OR_RETURN(const SteadyNs elapsed, product.Time(rows, clock));
      peaks.flops_per_second =
          std::max(peaks.flops_per_second, PerSecond(product.Flops(rows), elapsed));
      if (elapsed > kLongProduct) break;
    }
    return peaks;
  }
}

}  // namespace deltaserve
