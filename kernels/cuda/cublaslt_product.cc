// Matrix products by cuBLASLt. cuBLAS counts columns first: the weight [out, in] of ours is its
// [in, out] matrix A, x is its B, and it computes y as D = A^T B.
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <map>
#include <string>

#include "kernels/cuda/linear.h"

namespace deltaserve::cuda {
namespace {

// Of the scratch memory; the rest takes padded inputs.
constexpr int64_t kWorkspaceBytes = 32 << 20;

// What pins one algorithm: how rows are added up depends on nothing else.
struct PlanKey {
  int64_t out, in;    // of the product
  int64_t in_stride;  // of the weight
  DType dtype;        // of weight and x
  int64_t bucket;     // the number of rows, rounded up to a power of two
  DType y_dtype;
  uint32_t x_alignment;
  uint32_t y_alignment;
  auto operator<=>(const PlanKey&) const = default;
};

struct Plan {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatmulAlgo_t algorithm;
};

struct ProductCall {
  cublasLtHandle_t handle;
  Plan* plan;
  const DeviceLinear* weight;
  const void* x;
  void* y;
  void* workspace;
  int64_t rows;
  int64_t in;
  int64_t x_stride;
  int64_t y_stride;
  int64_t y_is_f32;
};

cudaDataType_t CublasType(bool is_f32) { return is_f32 ? CUDA_R_32F : CUDA_R_16BF; }

// The matrices of a product, as many rows of x as said.
struct Layouts {
  cublasLtMatrixLayoutOpaque_t weight = {}, x = {}, y = {};
  cublasStatus_t status;

  Layouts(const ProductCall& call, int64_t rows) {
    const bool is_f32 = call.weight->dtype() == DType::kF32;
    const auto out = static_cast<uint64_t>(call.weight->out_features());
    const auto in = static_cast<uint64_t>(call.in);
    status =
        cublasLtMatrixLayoutInit(&weight, CublasType(is_f32), in, out, call.weight->in_stride());
    if (status != CUBLAS_STATUS_SUCCESS) return;
    status = cublasLtMatrixLayoutInit(&x, CublasType(is_f32), in, static_cast<uint64_t>(rows),
                                      call.x_stride);
    if (status != CUBLAS_STATUS_SUCCESS) return;
    status = cublasLtMatrixLayoutInit(&y, CublasType(call.y_is_f32 != 0), out,
                                      static_cast<uint64_t>(rows), call.y_stride);
  }
};

bool Check(cublasStatus_t status, const char* what, Stream& stream) {
  if (status == CUBLAS_STATUS_SUCCESS) return true;
  stream.Fail(std::string(what) + ": " + cublasLtGetStatusName(status));
  return false;
}

void IssueProduct(const ProductCall& call, Stream& stream) {
  Layouts layouts(call, call.rows);
  if (!Check(layouts.status, "cublasLtMatrixLayoutInit", stream)) return;
  const float one = 1, zero = 0;
  Check(cublasLtMatmul(call.handle, &call.plan->product, &one, call.weight->data(), &layouts.weight,
                       call.x, &layouts.x, &zero, call.y, &layouts.y, call.y, &layouts.y,
                       &call.plan->algorithm, call.workspace, kWorkspaceBytes, stream.get()),
        "cublasLtMatmul", stream);
}

// The largest power of two up to 16 that divides it.
uint32_t Alignment(int64_t bytes) {
  return static_cast<uint32_t>(bytes == 0 ? 16 : std::min<int64_t>(bytes & -bytes, 16));
}
uint32_t Alignment(const void* data, int64_t stride_bytes) {
  return std::min(Alignment(reinterpret_cast<int64_t>(data)), Alignment(stride_bytes));
}

class CublasLtProduct final : public MatrixProduct {
 public:
  CublasLtProduct() : status_(cublasLtCreate(&handle_)) {}
  ~CublasLtProduct() override {
    if (handle_ != nullptr) cublasLtDestroy(handle_);
  }

  void Run(const LinearParams& p, OpContext& context) override {
    if (!Check(status_, "cublasLtCreate", context.stream)) return;
    const auto& weight = static_cast<const DeviceLinear&>(*p.weight);
    const int64_t element = SizeBytes(weight.dtype());
    if (Alignment(p.x.data, p.x.row_stride * element) == 16) {
      // An MLP of 2730, say, becomes one of 43 x 64: zeros times zeros add nothing.
      const bool padded = p.zero_padded && p.x.row_stride == weight.in_stride();
      RunAligned(p, padded ? weight.in_stride() : weight.in_features(), context);
      return;
    }
    // Other rows whose width is no multiple of 16 bytes are copied to where they have the weight's
    // padding.
    const int64_t row_bytes = weight.in_stride() * element;
    const int64_t rows_at_once = (context.scratch_bytes - kWorkspaceBytes) / row_bytes;
    for (int64_t row = 0; row < p.x.dim(0); row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, p.x.dim(0) - row);
      const TensorView padded(context.scratch + kWorkspaceBytes, p.x.dtype,
                              {rows, weight.in_stride()});
      PadRows(p.x.Rows(row, rows), padded, context);
      RunAligned({p.weight, padded, p.y.Rows(row, rows)}, weight.in_stride(), context);
    }
  }

 private:
  void RunAligned(const LinearParams& p, int64_t in, OpContext& context) {
    const auto& weight = static_cast<const DeviceLinear&>(*p.weight);
    ProductCall call = {.handle = handle_,
                        .plan = nullptr,
                        .weight = &weight,
                        .x = p.x.data,
                        .y = p.y.data,
                        .workspace = context.scratch,
                        .rows = p.x.dim(0),
                        .in = in,
                        .x_stride = p.x.row_stride,
                        .y_stride = p.y.row_stride,
                        .y_is_f32 = p.y.dtype == DType::kF32 ? 1 : 0};
    if (call.rows == 0) return;
    call.plan = FindPlan(call, p, context.stream);
    if (call.plan != nullptr) context.stream.Call(&IssueProduct, call);
  }

  // Null after a fault. Plans stay where they are.
  Plan* FindPlan(const ProductCall& call, const LinearParams& p, Stream& stream) {
    const PlanKey key = {
        .out = call.weight->out_features(),
        .in = call.in,
        .in_stride = call.weight->in_stride(),
        .dtype = call.weight->dtype(),
        .bucket = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(call.rows))),
        .y_dtype = p.y.dtype,
        .x_alignment = Alignment(call.x, call.x_stride * SizeBytes(p.x.dtype)),
        .y_alignment = Alignment(call.y, call.y_stride * SizeBytes(p.y.dtype))};
    const auto found = plans_.find(key);
    if (found != plans_.end()) return &found->second;
    Plan plan;
    if (!MakePlan(call, key, plan, stream)) return nullptr;
    return &plans_.emplace(key, plan).first->second;
  }

  bool MakePlan(const ProductCall& call, const PlanKey& key, Plan& plan, Stream& stream) {
    const char* const what = "a matrix product";
    const cublasOperation_t transposed = CUBLAS_OP_T;
    if (!Check(cublasLtMatmulDescInit(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), what,
               stream) ||
        !Check(cublasLtMatmulDescSetAttribute(&plan.product, CUBLASLT_MATMUL_DESC_TRANSA,
                                              &transposed, sizeof(transposed)),
               what, stream)) {
      return false;
    }
    Layouts layouts(call, key.bucket);
    if (!Check(layouts.status, what, stream)) return false;

    cublasLtMatmulPreferenceOpaque_t preference;
    if (!Check(cublasLtMatmulPreferenceInit(&preference), what, stream)) return false;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      return Check(
          cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)), what,
          stream);
    };
    const size_t workspace_bytes = kWorkspaceBytes;
    if (!prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes) ||
        !prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.x_alignment) ||
        !prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.y_alignment) ||
        !prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.y_alignment)) {
      return false;
    }
    cublasLtMatmulHeuristicResult_t best;
    int count = 0;
    if (!Check(
            cublasLtMatmulAlgoGetHeuristic(handle_, &plan.product, &layouts.weight, &layouts.x,
                                           &layouts.y, &layouts.y, &preference, 1, &best, &count),
            "cuBLASLt has no algorithm for a product", stream)) {
      return false;
    }
    if (count == 0) {
      stream.Fail("cuBLASLt has no algorithm for a product");
      return false;
    }
    plan.algorithm = best.algo;
    return true;
  }

  cublasLtHandle_t handle_ = nullptr;
  const cublasStatus_t status_;  // of making the handle
  std::map<PlanKey, Plan> plans_;
};

}  // namespace

std::unique_ptr<MatrixProduct> MakeProduct() { return std::make_unique<CublasLtProduct>(); }

}  // namespace deltaserve::cuda
