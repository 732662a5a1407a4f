// Does the op test suite notice a backend whose rows depend on each other? It is run on backends
// that are right but for one op, which is off by one unit in the last place wherever it is given
// more than one row. Each of them has to fail.
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "kernels/reference/reference_backend.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

const std::vector<std::string> kOps = {
    "Embed",        "Linear", "Boundary",    "TwoLayerGate",   "Attention",    "PrepareAttention",
    "HeadNormGate", "SwiGlu", "SampledRows", "LogProbsOfARow", "BoundaryTails"};

class FaultyBackend : public Backend {
 public:
  explicit FaultyBackend(std::string faulty_op)
      : faulty_op_(std::move(faulty_op)), right_(MakeReferenceBackend()) {}

  std::string_view device() const override { return "faulty"; }
  bool Supports(DType dtype) const override { return right_->Supports(dtype); }
  int64_t page_tokens() const override { return right_->page_tokens(); }
  absl::StatusOr<Buffer> Allocate(int64_t size) override { return right_->Allocate(size); }
  void CopyToDevice(void* to, const void* from, int64_t size) override {
    right_->CopyToDevice(to, from, size);
  }
  absl::Status CopyToHost(void* to, const void* from, int64_t size) override {
    return right_->CopyToHost(to, from, size);
  }
  absl::Status Synchronize() override { return right_->Synchronize(); }
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(absl::Span<const HostMatrix> parts,
                                                           DType dtype) override {
    return right_->PackLinear(parts, dtype);
  }

  void Embed(const EmbedParams& p) override {
    right_->Embed(p);
    Spoil("Embed", p.x);
  }
  void Linear(const LinearParams& p) override {
    right_->Linear(p);
    Spoil("Linear", p.y);
  }
  void Boundary(const BoundaryParams& p) override {
    right_->Boundary(p);
    Spoil("Boundary", p.c);
    // Only a run of several tokens leaves a wrong tail.
    if (p.read == BoundaryParams::Read::kTime && p.batch.num_tokens > p.batch.num_sequences) {
      Spoil("BoundaryTails", p.tails);
    }
  }
  void TwoLayerGate(const TwoLayerGateParams& p) override {
    right_->TwoLayerGate(p);
    Spoil("TwoLayerGate", p.beta);
  }
  void PrepareAttention(const PrepareAttentionParams& p) override {
    right_->PrepareAttention(p);
    Spoil("PrepareAttention", p.q);
  }
  void Attention(const AttentionParams& p) override {
    right_->Attention(p);
    Spoil("Attention", p.y);
  }
  void HeadNormGate(const HeadNormGateParams& p) override {
    right_->HeadNormGate(p);
    Spoil("HeadNormGate", p.y);
  }
  void SwiGlu(const SwiGluParams& p) override {
    right_->SwiGlu(p);
    Spoil("SwiGlu", p.out);
  }
  void GatherRows(const GatherRowsParams& p) override { right_->GatherRows(p); }
  void Sample(const SampleParams& p) override {
    right_->Sample(p);
    if (faulty_op_ == "SampledRows" && p.num_rows > 1) ++p.sampled_ids.As<int32_t>()[0];
  }
  void LogProbs(const LogProbsParams& p) override {
    right_->LogProbs(p);
    if (p.logits.dim(0) > 1) Spoil("LogProbsOfARow", p.target_logprobs);
  }
  void CopyRows(const CopyRowsParams& p) override { right_->CopyRows(p); }

 private:
  void Spoil(const std::string& op, const TensorView& out) {
    if (op != faulty_op_ || !out || out.dim(0) < 2 || out.shape.NumElements() == 0) return;
    float& value = out.Row<float>(out.dim(0) - 1)[0];
    value = std::nextafter(value, std::numeric_limits<float>::infinity());
  }

  std::string faulty_op_;
  std::unique_ptr<Backend> right_;
};

std::vector<OpTestParam> FaultyBackends() {
  std::vector<OpTestParam> params;
  for (const std::string& op : kOps) {
    params.push_back({op, [op] { return std::make_unique<FaultyBackend>(op); }, DType::kF32});
  }
  return params;
}

INSTANTIATE_TEST_SUITE_P(Faulty, OpTest, testing::ValuesIn(FaultyBackends()), OpTestName);

// Counts, instead of reporting, the tests that fail.
class Verdicts : public testing::EmptyTestEventListener {
 public:
  void OnTestEnd(const testing::TestInfo& info) override {
    const std::string name = info.name();
    const std::string op = name.substr(name.find('/') + 1);
    if (info.result()->Failed()) ++failures_[op];
  }
  int failures(const std::string& op) { return failures_[op]; }

 private:
  std::map<std::string, int> failures_;
};

int RunSuite() {
  // Of each backend, the tests of the op that is faulty.
  std::string filter = "*.AttentionOfAny*/PrepareAttention:*.BoundaryTime*/BoundaryTails";
  for (const std::string& op : kOps) filter += ":*." + op + "*/" + op;
  testing::GTEST_FLAG(filter) = filter;

  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  auto* verdicts = new Verdicts;  // owned by the listeners
  listeners.Append(verdicts);
  bool all_caught = RUN_ALL_TESTS() != 0;

  for (const std::string& op : kOps) {
    const int failures = verdicts->failures(op);
    std::printf("%-18s caught by %d tests\n", op.c_str(), failures);
    all_caught = all_caught && failures > 0;
  }
  return all_caught ? 0 : 1;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return deltaserve::RunSuite();
}
