// Embed and Boundary.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

constexpr int64_t kVocab = 50;

struct EmbedCase {
  Lengths lengths;
  int64_t d, d_v, num_taps;  // num_taps 0: repeat
  TokenRows ids;
  std::vector<float> wte, conv;

  EmbedCase(Lengths lengths, int64_t d, int64_t d_v, int64_t num_taps)
      : lengths(lengths), d(d), d_v(d_v), num_taps(num_taps), ids(lengths, 1) {
    Random random(d + d_v + num_taps);
    for (std::vector<float>& sequence : ids.sequences()) {
      for (float& id : sequence) id = static_cast<float>(random.Int(0, kVocab - 1));
    }
    wte = random.Normals(kVocab * d);
    conv = random.Normals(num_taps * d_v * d);
  }

  // The last id of a run is handed over through last_ids, as after a sampled token.
  EmbedParams Params(TestDevice& device, const StepRuns& step) const {
    std::vector<int32_t> token_ids, left;
    std::vector<int32_t> last_ids(NumSlots(lengths), -1);
    for (const TokenRun& run : step) {
      const std::vector<float>& sequence = ids.sequences()[run.sequence];
      const int64_t end = run.begin + run.count;
      for (int64_t t = run.begin; t < end; ++t) {
        token_ids.push_back(static_cast<int32_t>(sequence[t]));
      }
      token_ids.back() = -1;
      last_ids[SlotOf(run.sequence, lengths)] = static_cast<int32_t>(sequence[end - 1]);
      for (int64_t t = run.begin - (num_taps - 1); t < run.begin; ++t) {
        left.push_back(t < 0 ? -1 : static_cast<int32_t>(sequence[t]));
      }
    }
    const int64_t num_tokens = NumTokens(step), num_runs = static_cast<int64_t>(step.size());
    EmbedParams p = {.batch = UploadBatch(device, step, lengths),
                     .token_ids = device.I32({num_tokens}, token_ids),
                     .last_ids = device.I32({NumSlots(lengths)}, last_ids),
                     .left_tokens = {},
                     .wte = device.Model({kVocab, d}, wte),
                     .conv = {},
                     .x = device.Output(DType::kF32, {num_tokens, d_v, d})};
    if (num_taps > 0) {
      p.left_tokens = device.I32({num_runs, num_taps - 1}, left);
      p.conv = device.F32({num_taps, d_v, d}, conv);
    }
    return p;
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    OpResults results = {{"x", TokenRows(lengths, d_v * d)}};
    for (const StepRuns& step : schedule) {
      const EmbedParams p = Params(device, step);
      device.backend().Embed(p);
      results["x"].Scatter(step, device.Floats(p.x));
    }
    return results;
  }
};

TEST_P(OpTest, Embed) {
  Random random(1);
  for (int64_t d : {1, 7, 80, 213}) {
    for (int64_t num_taps : {0, 1, 2, 4, 6}) {
      const EmbedCase op({1, 2, 9, 5}, d, random.Int(1, 8), num_taps);
      SCOPED_TRACE(absl::StrCat("d=", d, " d_v=", op.d_v, " K_e=", num_taps));
      TestDevice device = Device(), reference = ReferenceDevice();
      const Schedule schedule = RandomChunks(op.lengths, random);
      const Tolerance tolerance = num_taps == 0 ? Tolerance{} : ModelTolerance(1e-5f);
      ExpectNear(op.Run(device, schedule).at("x"), op.Run(reference, schedule).at("x"), tolerance,
                 "x");
      ExpectRowsIndependent(op.lengths, [&](const Schedule& s) { return op.Run(device, s); });
    }
  }
}

using Write = BoundaryParams::Write;
using Read = BoundaryParams::Read;
using Target = BoundaryParams::Target;

struct BoundaryCase {
  Lengths lengths;
  int64_t d = 1, d_v = 1, num_taps = 1;
  Write write = Write::kNone;
  Read read = Read::kIdentity;
  Target target = Target::kNone;
  bool has_gate = false;
  bool shared_gate = false;  // beta is write_beta, v is write_v
  bool traced = false;       // proj and x_in are wanted

  TokenRows src, h, write_beta, write_v;
  std::vector<float> read_weight, norm_weight, beta_weight, v_weight, v_bias;

  static BoundaryCase Make(Random& random, Lengths lengths, Read read, int64_t d) {
    BoundaryCase op;
    op.lengths = lengths;
    op.d = d;
    op.d_v = read == Read::kIdentity ? 1 : random.Int(1, 8);
    op.num_taps = read == Read::kTime ? random.Int(1, 6) : 1;
    op.read = read;
    op.write = random.Pick<Write>({Write::kNone, Write::kDelta, Write::kDelta, Write::kDelta});
    if (op.d_v == 1 && random.Chance(0.4)) op.write = Write::kAdd;
    op.target =
        random.Pick<Target>({Target::kNone, Target::kSigmoid, Target::kLinear, Target::kConstant});
    op.has_gate = random.Chance(0.7);
    op.shared_gate = op.write == Write::kDelta && random.Chance(0.5);
    op.traced = random.Chance(0.5);

    op.src = TokenRows::Normals(lengths, op.d_v * d, random);
    op.h = TokenRows::Normals(lengths, d, random, 1 / std::sqrt(static_cast<float>(d)));
    op.write_beta = TokenRows(lengths, 1);
    for (std::vector<float>& sequence : op.write_beta.sequences()) {
      for (float& beta : sequence) beta = random.Uniform(0, 2);
    }
    op.write_v = TokenRows::Normals(lengths, op.d_v, random);
    const int64_t num_read = op.num_taps * op.d_v;
    op.read_weight = random.Normals(num_read * d, 1 / std::sqrt(static_cast<float>(num_read)));
    op.norm_weight = random.Normals(d);
    op.beta_weight = random.Normals(d, 1 / std::sqrt(static_cast<float>(d)));
    op.v_weight = random.Normals(op.d_v * d, 1 / std::sqrt(static_cast<float>(d)));
    op.v_bias = random.Normals(op.d_v);
    return op;
  }

  // The same reads from a state that has been written already.
  BoundaryCase ReadsOf(const TokenRows& state) const {
    BoundaryCase reads = *this;
    reads.src = state;
    reads.write = Write::kNone;
    reads.shared_gate = false;
    return reads;
  }

  std::string ToString() const {
    return absl::StrCat("d=", d, " d_v=", d_v, " K=", num_taps, " write=", int(write),
                        " read=", int(read), " target=", int(target), " gate=", has_gate,
                        " shared_gate=", shared_gate, " traced=", traced);
  }

  BoundaryParams Params(TestDevice& device, const StepRuns& step, const TensorView& tails) const {
    const int64_t n = NumTokens(step);
    BoundaryParams p;
    p.batch = UploadBatch(device, step, lengths);
    p.src = device.F32({n, d_v, d}, src.Gather(step));
    const bool apart = read == Read::kTime && write != Write::kNone;
    p.dst = apart ? device.Output(DType::kF32, {n, d_v, d}) : p.src;
    p.write = write;
    if (write != Write::kNone) p.h = device.F32({n, d}, h.Gather(step));
    if (write == Write::kDelta) {
      p.write_beta = device.F32({n}, write_beta.Gather(step));
      p.write_v = device.F32({n, d_v}, write_v.Gather(step));
      p.k_eps = 1e-2f;
      if (traced) p.proj = device.Output(DType::kF32, {n, d_v});
    }
    p.read = read;
    if (read == Read::kChannels) p.read_weight = device.F32({d_v, d}, read_weight);
    if (read == Read::kTime) {
      p.read_weight = device.F32({num_taps, d_v, d}, read_weight);
      p.tails = tails;
    }
    if (traced) p.x_in = device.Output(DType::kF32, {n, d});
    p.norm_weight = device.F32({d}, norm_weight);
    p.norm_eps = 1e-2f;  // large, so that c stays well-conditioned at d = 1
    p.c = device.Output(device.storage(), {n, d});
    if (has_gate) {
      p.beta_weight = device.F32({d}, beta_weight);
      p.beta_bias = 0.3f;
      p.beta = shared_gate ? p.write_beta : device.Output(DType::kF32, {n});
    }
    p.target = target;
    if (target == Target::kSigmoid || target == Target::kLinear) {
      p.v_weight = device.F32({d_v, d}, v_weight);
      p.v_bias = device.F32({d_v}, v_bias);
    }
    if (target != Target::kNone) {
      p.v = shared_gate ? p.write_v : device.Output(DType::kF32, {n, d_v});
      p.v_scale = 4;
      p.v_constant = 2.5f;
    }
    return p;
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    OpResults results;
    auto keep = [&](const std::string& name, const TensorView& view, const StepRuns& step) {
      if (!view) return;
      const int64_t width = view.shape.NumElements() / view.dim(0);
      results.try_emplace(name, lengths, width).first->second.Scatter(step, device.Floats(view));
    };
    // Garbage of an earlier sequence: a run that starts at position 0 takes its tail as zero.
    const int64_t tail_size = (num_taps - 1) * d;
    const TensorView tails = device.F32({NumSlots(lengths), num_taps - 1, d},
                                        std::vector<float>(NumSlots(lengths) * tail_size, 1e6f));
    for (const StepRuns& step : schedule) {
      const BoundaryParams p = Params(device, step, tails);
      device.backend().Boundary(p);
      keep("dst", p.dst, step);
      keep("proj", p.proj, step);
      keep("x_in", p.x_in, step);
      keep("c", p.c, step);
      if (has_gate) keep("beta", p.beta, step);
      if (target != Target::kNone) keep("v", p.v, step);
    }
    if (read == Read::kTime && num_taps > 1) KeepTails(device.Floats(tails), results);
    return results;
  }

  void KeepTails(const std::vector<float>& tails, OpResults& results) const {
    const Lengths one_each(lengths.size(), 1);
    const int64_t tail_size = (num_taps - 1) * d;
    TokenRows& rows = results["tails"] = TokenRows(one_each, tail_size);
    for (size_t s = 0; s < lengths.size(); ++s) {
      const auto begin = tails.begin() + SlotOf(static_cast<int64_t>(s), lengths) * tail_size;
      rows.sequences()[s].assign(begin, begin + tail_size);
    }
    for (int64_t i = 0; i < tail_size; ++i) EXPECT_EQ(tails[i], 1e6f) << "slot 0 is nobody's";
  }
};

std::vector<BoundaryCase> BoundaryCases(Read read) {
  Random random(static_cast<uint64_t>(read) + 100);
  std::vector<BoundaryCase> cases;
  for (int64_t d : {1, 7, 80, 96, 213, 768}) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      const Lengths lengths = d > 200 ? Lengths{3, 1, 7} : Lengths{2, 17, 1, 6, 9};
      cases.push_back(BoundaryCase::Make(random, lengths, read, d));
    }
  }
  return cases;
}

class BoundaryTest {
 public:
  BoundaryTest(TestDevice device, TestDevice reference, bool bf16)
      : device_(std::move(device)), reference_(std::move(reference)), bf16_(bf16) {}

  // The write against the reference's; then everything read, against what the reference reads from
  // the very state the backend left, so that a rounding of the state decides nothing.
  void ExpectNearReference(const BoundaryCase& op, const Schedule& schedule,
                           Tolerance model_tolerance) {
    const OpResults actual = op.Run(device_, schedule);
    const OpResults written = op.Run(reference_, schedule);
    ExpectNear(actual.at("dst"), written.at("dst"), model_tolerance, "dst");
    if (written.count("proj") > 0) {
      ExpectNear(actual.at("proj"), written.at("proj"), {1e-5f, 1e-5f}, "proj");
    }
    const OpResults read = op.ReadsOf(actual.at("dst")).Run(reference_, schedule);
    for (const auto& [name, expected] : read) {
      if (name == "dst" || name == "proj") continue;
      Tolerance tolerance = {2e-5f, 2e-5f};
      if (name == "c") tolerance = {2e-5f, model_tolerance.relative};
      // In bf16 the gate may see c before or after its rounding.
      if (name == "beta" && bf16_) tolerance = {4e-3f, 0};
      ExpectNear(actual.at(name), expected, tolerance, name);
    }
  }

  void ExpectRowsIndependent(const BoundaryCase& op) {
    deltaserve::ExpectRowsIndependent(
        op.lengths, [&](const Schedule& schedule) { return op.Run(device_, schedule); });
  }

 private:
  TestDevice device_;
  TestDevice reference_;
  bool bf16_;
};

TEST_P(OpTest, BoundaryIdentity) {
  Random random(1);
  for (const BoundaryCase& op : BoundaryCases(Read::kIdentity)) {
    SCOPED_TRACE(op.ToString());
    BoundaryTest test(Device(), ReferenceDevice(), bf16());
    test.ExpectNearReference(op, RandomChunks(op.lengths, random), ModelTolerance(1e-5f));
    test.ExpectRowsIndependent(op);
  }
}

TEST_P(OpTest, BoundaryChannels) {
  Random random(2);
  for (const BoundaryCase& op : BoundaryCases(Read::kChannels)) {
    SCOPED_TRACE(op.ToString());
    BoundaryTest test(Device(), ReferenceDevice(), bf16());
    test.ExpectNearReference(op, RandomChunks(op.lengths, random), ModelTolerance(1e-5f));
    test.ExpectRowsIndependent(op);
  }
}

// Chunks shorter than K-1 included: x_in and the tails are the same bits for every chunking.
TEST_P(OpTest, BoundaryTime) {
  Random random(3);
  for (const BoundaryCase& op : BoundaryCases(Read::kTime)) {
    SCOPED_TRACE(op.ToString());
    BoundaryTest test(Device(), ReferenceDevice(), bf16());
    test.ExpectNearReference(op, RandomChunks(op.lengths, random), ModelTolerance(1e-5f));
    test.ExpectRowsIndependent(op);
  }
}

// Long runs, so that a backend that cuts a run over several workers has something to cut.
TEST_P(OpTest, BoundaryTimeOfALargeState) {
  constexpr int64_t kStateBytes = 5 << 20;  // more than a backend may hope to keep in a cache
  Random random(5);
  BoundaryCase op = BoundaryCase::Make(random, {300, 1, 64}, Read::kTime, 720);
  while (365 * op.d_v * op.d * 4 < kStateBytes || op.write != Write::kDelta) {
    op = BoundaryCase::Make(random, {300, 1, 64}, Read::kTime, 720);
  }
  SCOPED_TRACE(op.ToString());
  BoundaryTest test(Device(), ReferenceDevice(), bf16());
  test.ExpectNearReference(op, OneStep(op.lengths), ModelTolerance(1e-5f));
  test.ExpectRowsIndependent(op);
}

TEST_P(OpTest, BoundaryTimeOfLongRuns) {
  Random random(4);
  for (int64_t num_taps : {2, 4}) {
    BoundaryCase op = BoundaryCase::Make(random, {301, 1, 64}, Read::kTime, 33);
    while (op.num_taps != num_taps || op.write != Write::kDelta || !op.traced) {
      op = BoundaryCase::Make(random, {301, 1, 64}, Read::kTime, 33);
    }
    SCOPED_TRACE(op.ToString());
    BoundaryTest test(Device(), ReferenceDevice(), bf16());
    test.ExpectNearReference(op, OneStep(op.lengths), ModelTolerance(1e-5f));
    test.ExpectRowsIndependent(op);
  }
}

}  // namespace
}  // namespace deltaserve
