#include "server/model/calibration.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

constexpr int64_t kIn = 2048;                  // features
constexpr int64_t kOut = 512;                  // of one weight: as large as models' small ones
constexpr int64_t kMostWeights = 64;           // together past every cache
constexpr int64_t kMostRows = 512;             // by then a product is bound by arithmetic
constexpr int kRuns = 8;                       // of which the fastest counts
constexpr SteadyNs kLongRead = 2'000'000;      // that a clock measures well
constexpr SteadyNs kLongProduct = 20'000'000;  // beyond which more rows take too long to try

// y = x Wᵀ with one weight [kOut, kIn] after the other, as a step goes through a model: with what
// it takes to begin and to end each product.
class Products {
 public:
  static absl::StatusOr<Products> Make(Backend& backend, DType dtype, int64_t num_weights) {
    Products products(backend, dtype);
    // Nothing is zero: a device may multiply zeros faster.
    const std::vector<uint16_t> weight(kOut * kIn, ToBFloat16(0.5f));
    const HostMatrix matrix = {weight.data(), DType::kBF16, kOut, kIn};
    for (int64_t i = 0; i < num_weights; ++i) {
      ASSIGN_OR_RETURN(products.weights_.emplace_back(), backend.PackLinear({&matrix, 1}, dtype));
    }
    const std::vector<uint16_t> x(kMostRows * kIn * SizeBytes(dtype) / 2, ToBFloat16(0.5f));
    ASSIGN_OR_RETURN(products.x_, backend.Allocate(kMostRows * kIn * SizeBytes(dtype)));
    backend.CopyToDevice(products.x_.data(), x.data(), products.x_.size_bytes());
    ASSIGN_OR_RETURN(products.y_, backend.Allocate(kMostRows * kOut * SizeBytes(DType::kF32)));
    return products;
  }

  double size_bytes() const { return NumWeights() * static_cast<double>(SizeBytes(dtype_)); }
  double Flops(int64_t rows) const { return 2.0 * static_cast<double>(rows) * NumWeights(); }

  // The fastest of some runs.
  absl::StatusOr<SteadyNs> Time(int64_t rows, const Clock& clock) const {
    LinearParams linear;
    linear.x = x_.View(dtype_, {rows, kIn});
    linear.y = y_.View(DType::kF32, {rows, kOut});
    SteadyNs fastest = 0;
    for (int run = 0; run < kRuns; ++run) {
      const SteadyNs begin = clock.Now();
      for (const std::unique_ptr<PackedLinear>& weight : weights_) {
        linear.weight = weight.get();
        backend_->Linear(linear);
      }
      RETURN_IF_ERROR(backend_->Synchronize());
      const SteadyNs elapsed = std::max<SteadyNs>(1, clock.Now() - begin);
      fastest = run == 0 ? elapsed : std::min(fastest, elapsed);
    }
    return fastest;
  }

 private:
  Products(Backend& backend, DType dtype) : backend_(&backend), dtype_(dtype) {}

  double NumWeights() const { return static_cast<double>(weights_.size() * kOut * kIn); }

  Backend* backend_;
  DType dtype_;
  std::vector<std::unique_ptr<PackedLinear>> weights_;
  Buffer x_, y_;
};

double PerSecond(double amount, SteadyNs ns) { return amount * 1e9 / static_cast<double>(ns); }

}  // namespace

absl::StatusOr<DevicePeaks> MeasurePeaks(Backend& backend, DType dtype, const Clock& clock) {
  DevicePeaks peaks;
  for (int64_t num_weights = 1;; num_weights *= 2) {
    ASSIGN_OR_RETURN(const Products products, Products::Make(backend, dtype, num_weights));
    ASSIGN_OR_RETURN(const SteadyNs one_row, products.Time(1, clock));
    if (one_row < kLongRead && num_weights < kMostWeights) continue;

    peaks.bytes_per_second = PerSecond(products.size_bytes(), one_row);
    for (int64_t rows = 1; rows <= kMostRows; rows *= 2) {
      ASSIGN_OR_RETURN(const SteadyNs elapsed, products.Time(rows, clock));
      peaks.flops_per_second =
          std::max(peaks.flops_per_second, PerSecond(products.Flops(rows), elapsed));
      if (elapsed > kLongProduct) break;
    }
    return peaks;
  }
}

}  // namespace deltaserve
