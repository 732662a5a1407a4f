#include <omp.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/linear.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace deltaserve::cpu {
namespace {

// A product is compiled for its number of rows, so there are only these: a batch is padded up to
// one of them, a long prompt cut into some. Fewer rows are MultiplyFewRows's.
constexpr int64_t kRowBuckets[] = {4,   8,   16,  24,  32,  48,  64,  96,
                                   128, 192, 256, 384, 512, 768, 1024};
// Up to here reading the weights once more costs more than padding does.
constexpr int64_t kPadUpTo = 64;

int64_t NextBucket(int64_t rows) {
  if (rows <= kPadUpTo) {
    return *std::lower_bound(std::begin(kRowBuckets), std::end(kRowBuckets), rows);
  }
  return *std::prev(std::upper_bound(std::begin(kRowBuckets), std::end(kRowBuckets), rows));
}

dnnl::memory::data_type DataType(DType dtype) {
  return dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc RowMajor(int64_t rows, int64_t columns, DType dtype) {
  return {{rows, columns}, DataType(dtype), dnnl::memory::format_tag::ab};
}

class OneDnnPackedLinear : public PackedLinear {
 public:
  OneDnnPackedLinear(int64_t in, int64_t out, dnnl::memory::desc desc, std::shared_ptr<void> data)
      : in_(in), out_(out), desc_(desc), data_(std::move(data)) {}

  int64_t in_features() const override { return in_; }
  int64_t out_features() const override { return out_; }
  int64_t size_bytes() const override { return static_cast<int64_t>(desc_.get_size()); }
  const dnnl::memory::desc& desc() const { return desc_; }
  void* data() const { return data_.get(); }

  // What MultiplyFewRows takes; of width 0 where it would not give oneDNN's bits.
  const BlockedWeight& blocked() const { return blocked_; }
  void set_blocked(const BlockedWeight& blocked) { blocked_ = blocked; }

 private:
  int64_t in_, out_;
  dnnl::memory::desc desc_;
  std::shared_ptr<void> data_;
  BlockedWeight blocked_;
};

// A compiled product of a bucket of rows with any weight of one shape.
struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc x, weight, y, scratchpad;
};

class OneDnnLinear : public LinearKernel {
 public:
  explicit OneDnnLinear(int num_threads)
      : num_threads_(num_threads), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::Span<const HostMatrix> parts,
                                                     DType dtype) override {
    absl::StatusOr<StackedMatrix> matrix = StackParts(parts, dtype);
    if (!matrix.ok()) return matrix.status();
    const int64_t in = matrix->in, out = matrix->out;
    try {
      omp_set_num_threads(num_threads_);
      const dnnl::memory::desc desc = PackedLayout(in, out, dtype);
      std::shared_ptr<void> data = arena_.Allocate(static_cast<int64_t>(desc.get_size()));
      if (data == nullptr) return CannotAllocate(static_cast<int64_t>(desc.get_size()));
      // oneDNN multiplies with [in, out], which is what the transposed strides say.
      const dnnl::memory::desc plain({in, out}, DataType(dtype), dnnl::memory::format_tag::ba);
      dnnl::memory from(plain, engine_, const_cast<void*>(matrix->data));
      dnnl::memory to(desc, engine_, data.get());
      dnnl::stream stream(engine_);
      dnnl::reorder(from, to).execute(stream, from, to);
      stream.wait();
      auto packed = std::make_unique<OneDnnPackedLinear>(in, out, desc, std::move(data));
      const BlockedWeight blocked = BlockedWeight::From(desc, packed->data());
      if (blocked.width > 0 && FewRowsAgree(*packed, blocked, dtype)) packed->set_blocked(blocked);
      return packed;
    } catch (const dnnl::error& error) {
      return absl::InternalError(absl::StrCat("cpu: oneDNN cannot pack a weight of [", out, ", ",
                                              in, "] in ", std::string(Name(dtype)), ": ",
                                              error.what()));
    }
  }

  absl::Status Run(const LinearParams& p, Workers& workers) override {
    const auto& weight = static_cast<const OneDnnPackedLinear&>(*p.weight);
    try {
      omp_set_num_threads(num_threads_);
      if (p.x.dim(0) <= kMaxFewRows && weight.blocked().width > 0) {
        RunFewRows(weight, p, workers);
        return absl::OkStatus();
      }
      for (int64_t row = 0; row < p.x.dim(0);) {
        const int64_t left = p.x.dim(0) - row;
        const int64_t bucket = NextBucket(left);
        const int64_t count = std::min(left, bucket);
        Multiply(weight, p.x.Rows(row, count), p.y.Rows(row, count), bucket);
        row += count;
      }
    } catch (const dnnl::error& error) {
      return absl::InternalError(absl::StrCat("cpu: oneDNN cannot multiply ", p.x.shape.ToString(),
                                              " with a weight of [", weight.out_features(), ", ",
                                              weight.in_features(), "]: ", error.what()));
    }
    return absl::OkStatus();
  }

 private:
  // in, out, rows, dtype of x and weight, dtype of y.
  using Key = std::tuple<int64_t, int64_t, int64_t, DType, DType>;

  static dnnl::primitive_attr Attributes() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
  }

  dnnl::matmul::primitive_desc Describe(const Key& key, const dnnl::memory::desc& weight) const {
    const auto [in, out, rows, dtype, y_dtype] = key;
    return {
        {RowMajor(rows, in, dtype), weight, RowMajor(rows, out, y_dtype)}, Attributes(), engine_};
  }

  // The layout that products want their weight in: the same for every number of rows.
  dnnl::memory::desc PackedLayout(int64_t in, int64_t out, DType dtype) const {
    const dnnl::memory::desc any({in, out}, DataType(dtype), dnnl::memory::format_tag::any);
    return Describe({in, out, kRowBuckets[0], dtype, dtype}, any).weights_desc();
  }

  const Product& Compiled(const Key& key, const dnnl::memory::desc& weight) {
    const std::lock_guard<std::mutex> lock(products_mutex_);
    auto found = products_.find(key);
    if (found == products_.end()) {
      const dnnl::matmul::primitive_desc desc = Describe(key, weight);
      Product product{dnnl::matmul(desc), desc.src_desc(), desc.weights_desc(), desc.dst_desc(),
                      desc.scratchpad_desc()};
      found = products_.emplace(key, std::move(product)).first;
    }
    return found->second;
  }

  void Execute(const Product& product, dnnl::stream& stream, void* x, void* weight, void* y,
               void* scratchpad) const {
    product.primitive.execute(
        stream, {{DNNL_ARG_SRC, dnnl::memory(product.x, engine_, x)},
                 {DNNL_ARG_WEIGHTS, dnnl::memory(product.weight, engine_, weight)},
                 {DNNL_ARG_DST, dnnl::memory(product.y, engine_, y)},
                 {DNNL_ARG_SCRATCHPAD, dnnl::memory(product.scratchpad, engine_, scratchpad)}});
    stream.wait();
  }

  static void RunFewRows(const OneDnnPackedLinear& weight, const LinearParams& p,
                         Workers& workers) {
    constexpr int64_t kGrainBytes = 64 << 10;  // of weights that are worth waking a worker for
    const BlockedWeight& blocked = weight.blocked();
    const int64_t block_bytes = blocked.block_size * SizeBytes(p.x.dtype);
    workers.ForRanges(blocked.NumBlocks(weight.out_features()), kGrainBytes / block_bytes + 1,
                      [&](int64_t begin, int64_t end, int worker) {
                        MultiplyFewRows(p.x, blocked, p.y, begin, end,
                                        workers.read_ahead().share(worker));
                      });
  }

  // Rows of a small batch must not depend on which of the two computes them, and oneDNN promises no
  // order of addition: so every weight is tried once.
  bool FewRowsAgree(const OneDnnPackedLinear& weight, const BlockedWeight& blocked, DType dtype) {
    const int64_t in = weight.in_features(), out = weight.out_features();
    const int64_t rows = kRowBuckets[0];
    const Product& product = Compiled({in, out, rows, dtype, DType::kF32}, weight.desc());
    std::vector<float> values(rows * in);
    std::minstd_rand random;
    for (float& value : values) value = static_cast<float>(random() % 4096) / 2048.0f - 1.0f;
    std::vector<float> x(rows * in), expected(rows * out), y(rows * out);
    Convert(values.data(), DType::kF32, x.data(), dtype, rows * in);
    const AlignedMemory scratchpad =
        AllocateAligned(static_cast<int64_t>(product.scratchpad.get_size()));
    if (scratchpad == nullptr) throw std::bad_alloc();
    dnnl::stream stream(engine_);
    Execute(product, stream, x.data(), weight.data(), expected.data(), scratchpad.get());
    ReadAhead::Share nothing;
    MultiplyFewRows(TensorView(x.data(), dtype, {rows, in}), blocked,
                    TensorView(y.data(), DType::kF32, {rows, out}), 0, blocked.NumBlocks(out),
                    nothing);
    return std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) == 0;
  }

  // Rows beyond those of x, up to `bucket`, exist in staging memory only.
  void Multiply(const OneDnnPackedLinear& weight, const TensorView& x, const TensorView& y,
                int64_t bucket) {
    const int64_t rows = x.dim(0);
    const Product& product = Compiled(
        {weight.in_features(), weight.out_features(), bucket, x.dtype, y.dtype}, weight.desc());
    void* x_data = x.data;
    if (rows < bucket || !x.dense()) {
      const int64_t row_bytes = x.dim(1) * SizeBytes(x.dtype);
      char* staged = static_cast<char*>(Grow(x_staging_, bucket * row_bytes));
      for (int64_t row = 0; row < rows; ++row) {
        std::memcpy(staged + row * row_bytes, x.Rows(row, 1).data, row_bytes);
      }
      std::memset(staged + rows * row_bytes, 0, (bucket - rows) * row_bytes);
      x_data = staged;
    }
    const int64_t y_row_bytes = y.dim(1) * SizeBytes(y.dtype);
    void* y_data = rows < bucket ? Grow(y_staging_, bucket * y_row_bytes) : y.data;
    void* scratchpad = Grow(scratchpad_, static_cast<int64_t>(product.scratchpad.get_size()));

    Execute(product, stream_, x_data, weight.data(), y_data, scratchpad);
    if (y_data != y.data) std::memcpy(y.data, y_data, rows * y_row_bytes);
  }

  struct Staging {
    AlignedMemory memory;
    int64_t size_bytes = 0;
  };

  static void* Grow(Staging& staging, int64_t size_bytes) {
    if (size_bytes > staging.size_bytes) {
      staging.size_bytes = 0;
      staging.memory = AllocateAligned(size_bytes);
      if (staging.memory == nullptr) throw std::bad_alloc();
      staging.size_bytes = size_bytes;
    }
    return staging.memory.get();
  }

  const int num_threads_;
  WeightArena arena_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::mutex products_mutex_;
  std::map<Key, Product> products_;  // guarded by products_mutex_; entries stay
  Staging x_staging_, y_staging_, scratchpad_;
};

}  // namespace

std::unique_ptr<LinearKernel> MakeOneDnnLinear(int num_threads) {
  return std::make_unique<OneDnnLinear>(num_threads);
}

}  // namespace deltaserve::cpu
