// A backend that counts the work of matrix products and, when asked, times every op.
#ifndef DELTASERVE_BENCH_METERED_BACKEND_H_
#define DELTASERVE_BENCH_METERED_BACKEND_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "bench/stopwatch.h"
#include "tests/support/forwarding_backend.h"

namespace deltaserve::bench {

// Of all products since the last Reset(). Padding of packed weights does not count.
struct MatmulWork {
  int64_t weight_bytes = 0;  // read, once for each product
  double flops = 0;          // a multiply-add is two
};

class MeteredBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  // Products are told apart by the shape of their weight.
  struct OpKey {
    std::string_view op;
    int64_t in = 0, out = 0;  // 0: not a product
    auto operator<=>(const OpKey&) const = default;
  };
  struct OpTime {
    int64_t calls = 0;
    double seconds = 0;
    MatmulWork work;
  };

  // Also forgets.
  void Reset(bool time_ops = false) {
    work_ = {};
    times_.clear();
    time_ops_ = time_ops;
  }
  const MatmulWork& work() const { return work_; }
  const std::map<OpKey, OpTime>& times() const { return times_; }

  void Linear(const LinearParams& p) override {
    const int64_t in = p.weight->in_features(), out = p.weight->out_features();
    const MatmulWork work = {in * out * SizeBytes(p.x.dtype),
                             2.0 * static_cast<double>(p.x.dim(0) * in * out)};
    Add(work, work_);
    Timed({"Linear", in, out}, work, [&] { ForwardingBackend::Linear(p); });
  }
  void Embed(const EmbedParams& p) override {
    Timed({"Embed"}, {}, [&] { ForwardingBackend::Embed(p); });
  }
  void Boundary(const BoundaryParams& p) override {
    Timed({"Boundary"}, {}, [&] { ForwardingBackend::Boundary(p); });
  }
  void TwoLayerGate(const TwoLayerGateParams& p) override {
    Timed({"TwoLayerGate"}, {}, [&] { ForwardingBackend::TwoLayerGate(p); });
  }
  void PrepareAttention(const PrepareAttentionParams& p) override {
    Timed({"PrepareAttention"}, {}, [&] { ForwardingBackend::PrepareAttention(p); });
  }
  void Attention(const AttentionParams& p) override {
    Timed({"Attention"}, {}, [&] { ForwardingBackend::Attention(p); });
  }
  void HeadNormGate(const HeadNormGateParams& p) override {
    Timed({"HeadNormGate"}, {}, [&] { ForwardingBackend::HeadNormGate(p); });
  }
  void SwiGlu(const SwiGluParams& p) override {
    Timed({"SwiGlu"}, {}, [&] { ForwardingBackend::SwiGlu(p); });
  }
  void GatherRows(const GatherRowsParams& p) override {
    Timed({"GatherRows"}, {}, [&] { ForwardingBackend::GatherRows(p); });
  }
  void Sample(const SampleParams& p) override {
    Timed({"Sample"}, {}, [&] { ForwardingBackend::Sample(p); });
  }
  void LogProbs(const LogProbsParams& p) override {
    Timed({"LogProbs"}, {}, [&] { ForwardingBackend::LogProbs(p); });
  }
  void CopyRows(const CopyRowsParams& p) override {
    Timed({"CopyRows"}, {}, [&] { ForwardingBackend::CopyRows(p); });
  }

 private:
  static void Add(const MatmulWork& work, MatmulWork& sum) {
    sum.weight_bytes += work.weight_bytes;
    sum.flops += work.flops;
  }

  template <typename Op>
  void Timed(const OpKey& key, const MatmulWork& work, Op op) {
    if (!time_ops_) return op();
    const Stopwatch stopwatch;
    op();
    // Ops may run later. A fault comes out of the engine's own Synchronize() again.
    Synchronize().IgnoreError();
    OpTime& time = times_[key];
    ++time.calls;
    time.seconds += stopwatch.Seconds();
    Add(work, time.work);
  }

  bool time_ops_ = false;
  MatmulWork work_;
  std::map<OpKey, OpTime> times_;
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_METERED_BACKEND_H_
