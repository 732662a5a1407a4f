#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/plain_product.cuh"

namespace deltaserve::cuda {
namespace {

class PlainProduct final : public MatrixProduct {
 public:
  void Run(const LinearParams& p, OpContext& context) override {
    const auto& weight = static_cast<const DeviceLinear&>(*p.weight);
    PlainProductArgs args = {};
    args.x = p.x.data;
    args.weight = weight.data();
    args.y = p.y.data;
    args.x_stride = p.x.row_stride;
    args.weight_stride = weight.in_stride();
    args.y_stride = p.y.row_stride;
    args.rows = static_cast<int32_t>(p.x.dim(0));
    args.in = static_cast<int32_t>(weight.in_features());
    args.out = static_cast<int32_t>(weight.out_features());
    args.y_is_f32 = p.y.dtype == DType::kF32 ? 1 : 0;
    const LaunchShape shape = {
        {Blocks(args.out, kProductTile), Blocks(args.rows, kProductTile), 1}, kProductThreads, 0};
    context.stream.Launch(
        weight.dtype() == DType::kBF16 ? &PlainProductKernel<BFloat16> : &PlainProductKernel<float>,
        shape, args);
  }
};

}  // namespace

std::unique_ptr<MatrixProduct> MakePlainProduct() { return std::make_unique<PlainProduct>(); }

}  // namespace deltaserve::cuda
