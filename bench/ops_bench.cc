// The CPU ops that take the time, at the shapes of the 124M model: products with their share of
// memory bandwidth and FLOP/s, attention, and the residual boundary of each kind.
//
//   ops_bench [--benchmark_filter=Linear] ...    DELTASERVE_THREADS=2 in the environment
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"

namespace deltaserve {
namespace {

constexpr int64_t kWidth = 768, kHeads = 6, kHeadDim = 128, kHidden = 2048, kVocab = 50304;
constexpr int64_t kBlockSize = 1024;

// A backend and the operands made on it.
class Operands {
 public:
  Operands() {
    const char* threads = std::getenv("DELTASERVE_THREADS");
    backend_ = *MakeCpuBackend({.num_threads = threads != nullptr ? std::atoi(threads) : 0});
  }

  Backend& backend() { return *backend_; }

  // Uniform on [-scale, scale): never zeros, which some machines multiply and fetch faster.
  TensorView Random(DType dtype, Shape shape, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    TensorView view = New(dtype, shape);
    for (int64_t i = 0; i < shape.NumElements(); ++i) {
      const float value = uniform(random_);
      if (dtype == DType::kBF16) {
        view.As<uint16_t>()[i] = ToBFloat16(value);
      } else {
        view.As<float>()[i] = value;
      }
    }
    return view;
  }

  TensorView Ints(Shape shape, const std::vector<int32_t>& values) {
    TensorView view = New(DType::kI32, shape);
    std::memcpy(view.data, values.data(), values.size() * sizeof(int32_t));
    return view;
  }

  // `sequences` runs of `run` tokens each, the last of them with `keys` keys to attend to.
  BatchView Batch(int64_t sequences, int64_t run, int64_t keys) {
    const int64_t pages = PagesOf(keys);
    std::vector<int32_t> positions, sequence_of, offsets = {0}, kv_len, slots;
    for (int64_t s = 0; s < sequences; ++s) {
      for (int64_t t = 0; t < run; ++t) positions.push_back(static_cast<int32_t>(keys - run + t));
      sequence_of.insert(sequence_of.end(), run, static_cast<int32_t>(s));
      offsets.push_back(static_cast<int32_t>((s + 1) * run));
      kv_len.push_back(static_cast<int32_t>(keys));
      slots.push_back(static_cast<int32_t>(s + 1));
    }
    std::vector<int32_t> page_table(sequences * pages);
    std::iota(page_table.begin(), page_table.end(), 1);
    BatchView batch;
    batch.num_tokens = sequences * run;
    batch.num_sequences = sequences;
    batch.positions = Ints({batch.num_tokens}, positions);
    batch.sequence_of = Ints({batch.num_tokens}, sequence_of);
    batch.query_offsets = Ints({sequences + 1}, offsets);
    batch.kv_len = Ints({sequences}, kv_len);
    batch.page_table = Ints({sequences, pages}, page_table);
    batch.state_slot = Ints({sequences}, slots);
    return batch;
  }

  int64_t PagesOf(int64_t keys) {
    return (keys + backend_->page_tokens() - 1) / backend_->page_tokens();
  }

 private:
  TensorView New(DType dtype, Shape shape) {
    buffers_.push_back(*backend_->Allocate(shape.NumElements() * SizeBytes(dtype)));
    return buffers_.back().View(dtype, shape);
  }

  std::unique_ptr<Backend> backend_;
  std::vector<Buffer> buffers_;  // freed before the backend
  std::mt19937 random_{1};
};

// Arguments: rows, in, out. As many copies of the weight take turns as do not fit in a cache.
template <DType kDType>
void Linear(benchmark::State& state) {
  const int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  Operands operands;
  const TensorView matrix = operands.Random(kDType, {out, in}, 0.05f);
  const HostMatrix host = {matrix.data, kDType, out, in};
  std::vector<std::unique_ptr<PackedLinear>> weights;
  int64_t size_bytes = 0;
  while (size_bytes < int64_t{128} << 20) {
    weights.push_back(*operands.backend().PackLinear({&host, 1}, kDType));
    size_bytes += weights.back()->size_bytes();
  }
  LinearParams p = {.weight = nullptr,
                    .x = operands.Random(kDType, {rows, in}),
                    .y = operands.Random(DType::kF32, {rows, out})};
  size_t next = 0;
  for (auto _ : state) {
    p.weight = weights[next++ % weights.size()].get();
    operands.backend().Linear(p);
  }
  state.SetBytesProcessed(state.iterations() * weights[0]->size_bytes());
  state.counters["FLOP/s"] = benchmark::Counter(
      2.0 * static_cast<double>(rows * in * out * state.iterations()), benchmark::Counter::kIsRate);
}

void ProductShapes(benchmark::internal::Benchmark* bench) {
  for (int64_t rows : {1, 4, 8, 32, 128, 512}) {
    bench->Args({rows, kWidth, 3 * kHeads * kHeadDim});
    bench->Args({rows, kWidth, 2 * kHidden});
    bench->Args({rows, kHidden, kWidth});
  }
  for (int64_t rows : {1, 8, 32}) bench->Args({rows, kWidth, kVocab});
}
BENCHMARK(Linear<DType::kBF16>)->Apply(ProductShapes)->UseRealTime();
BENCHMARK(Linear<DType::kF32>)->Apply(ProductShapes)->UseRealTime();

// Arguments: sequences, tokens a run, keys.
template <DType kDType>
void Attention(benchmark::State& state) {
  const int64_t sequences = state.range(0), run = state.range(1), keys = state.range(2);
  Operands operands;
  const int64_t pages = sequences * operands.PagesOf(keys) + 1;
  const int64_t head_page = operands.backend().page_tokens() * kHeadDim;
  AttentionParams p;
  p.batch = operands.Batch(sequences, run, keys);
  p.q = operands.Random(DType::kF32, {sequences * run, kHeads * kHeadDim});
  p.kv = operands.Random(kDType, {pages, 2, kHeads, head_page});
  p.num_heads = kHeads;
  p.scale = 0.088f;
  p.y = operands.Random(kDType, {sequences * run, kHeads * kHeadDim});
  for (auto _ : state) operands.backend().Attention(p);
  const int64_t scores = sequences * kHeads * (run * (keys - run) + run * (run + 1) / 2);
  state.counters["FLOP/s"] =
      benchmark::Counter(4.0 * static_cast<double>(scores * kHeadDim * state.iterations()),
                         benchmark::Counter::kIsRate);
}
BENCHMARK(Attention<DType::kBF16>)
    ->Args({1, 1, 128})
    ->Args({1, 1, 1024})
    ->Args({8, 1, 128})
    ->Args({32, 1, 128})
    ->Args({1, 512, 512})
    ->UseRealTime();

enum Kind : int64_t { kAdditive, kScalar, kChannels, kTime };

// Arguments: kind, sequences, tokens a run.
void Boundary(benchmark::State& state) {
  const auto kind = static_cast<Kind>(state.range(0));
  const int64_t sequences = state.range(1), tokens = sequences * state.range(2);
  const int64_t d_v = kind == kAdditive || kind == kScalar ? 1 : 4;
  Operands operands;
  const auto f32 = [&](Shape shape) { return operands.Random(DType::kF32, shape, 0.1f); };
  BoundaryParams p;
  p.batch = operands.Batch(sequences, state.range(2), kBlockSize);
  p.src = f32({tokens, d_v, kWidth});
  p.dst = kind == kTime ? f32({tokens, d_v, kWidth}) : p.src;
  p.write = kind == kAdditive ? BoundaryParams::Write::kAdd : BoundaryParams::Write::kDelta;
  p.h = f32({tokens, kWidth});
  p.norm_weight = f32({kWidth});
  p.norm_eps = 1e-5f;
  p.c = operands.Random(DType::kBF16, {tokens, kWidth});
  if (kind != kAdditive) {
    p.write_beta = p.beta = f32({tokens});
    p.write_v = p.v = f32({tokens, d_v});
    p.k_eps = 1e-5f;
    p.beta_weight = f32({kWidth});
    p.target = BoundaryParams::Target::kSigmoid;
    p.v_weight = f32({d_v, kWidth});
    p.v_bias = f32({d_v});
  }
  if (kind == kChannels) {
    p.read = BoundaryParams::Read::kChannels;
    p.read_weight = f32({d_v, kWidth});
  } else if (kind == kTime) {
    p.read = BoundaryParams::Read::kTime;
    p.read_weight = f32({4, d_v, kWidth});
    p.tails = f32({sequences + 1, 3, kWidth});
  }
  for (auto _ : state) operands.backend().Boundary(p);
  state.SetBytesProcessed(state.iterations() * 2 * p.src.SizeBytes());
}
BENCHMARK(Boundary)
    ->ArgNames({"kind", "sequences", "tokens"})
    ->ArgsProduct({{kAdditive, kScalar, kChannels, kTime}, {1, 8, 32}, {1}})
    ->ArgsProduct({{kAdditive, kScalar, kChannels, kTime}, {1}, {512}})
    ->UseRealTime();

}  // namespace
}  // namespace deltaserve

BENCHMARK_MAIN();
