// PrepareAttention and Attention, which share the layout of the cache and are tested together.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

struct AttentionCase {
  Lengths lengths;
  int64_t num_heads = 1, head_dim = 1;
  int64_t rotated = 0;  // entries of a head
  bool qk_norm = false;
  Activation q_activation = Activation::kIdentity;
  Activation k_activation = Activation::kIdentity;
  Activation v_activation = Activation::kIdentity;
  TokenRows qkv;  // as one projection makes them, [T, 3*H*D]
  std::vector<float> q_norm, k_norm;

  static AttentionCase Make(Random& random, Lengths lengths, int64_t num_heads, int64_t head_dim) {
    AttentionCase op;
    op.lengths = lengths;
    op.num_heads = num_heads;
    op.head_dim = head_dim;
    op.qkv = TokenRows::Normals(lengths, 3 * num_heads * head_dim, random);
    op.q_norm = random.Normals(head_dim);
    op.k_norm = random.Normals(head_dim);
    return op;
  }

  int64_t width() const { return num_heads * head_dim; }

  std::string ToString() const {
    return absl::StrCat("H=", num_heads, " D=", head_dim, " rotated=", rotated, " norm=", qk_norm,
                        " activations=", int(q_activation), int(k_activation), int(v_activation));
  }

  // What no token of the batch has written is large but finite: a page is reused as it is.
  TensorView Cache(TestDevice& device) const {
    const Shape shape = {NumPages(device, lengths), 2, num_heads,
                         device.backend().page_tokens() * head_dim};
    return device.Model(shape, std::vector<float>(shape.NumElements(), 1e4f));
  }

  PrepareAttentionParams Params(TestDevice& device, const StepRuns& step,
                                const TensorView& kv) const {
    const int64_t n = NumTokens(step),
                  block_size = *std::max_element(lengths.begin(), lengths.end());
    // The cache keeps keys and values in the model dtype: let that round nothing.
    const TensorView rows =
        device.F32({n, 3 * width()}, Rounded(qkv.Gather(step), device.precision()), 5);
    PrepareAttentionParams p = {.batch = UploadBatch(device, step, lengths),
                                .q = rows.Columns(0, width()),
                                .k = rows.Columns(width(), width()),
                                .v = rows.Columns(2 * width(), width()),
                                .num_heads = num_heads,
                                .q_activation = q_activation,
                                .k_activation = k_activation,
                                .v_activation = v_activation,
                                .rope_cos = {},
                                .rope_sin = {},
                                .q_norm = {},
                                .k_norm = {},
                                .norm_eps = 1e-2f,
                                .kv = kv};
    if (rotated > 0) {
      std::vector<float> cosines, sines;
      for (int64_t position = 0; position < block_size; ++position) {
        for (int64_t pair = 0; pair < rotated / 2; ++pair) {
          const float angle = static_cast<float>(position) / static_cast<float>(1 + 3 * pair);
          cosines.push_back(std::cos(angle));
          sines.push_back(std::sin(angle));
        }
      }
      p.rope_cos = device.F32({block_size, rotated / 2}, cosines);
      p.rope_sin = device.F32({block_size, rotated / 2}, sines);
    }
    if (qk_norm) {
      p.q_norm = device.F32({head_dim}, q_norm);
      p.k_norm = device.F32({head_dim}, k_norm);
    }
    return p;
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    OpResults results = {{"q", TokenRows(lengths, width())}, {"y", TokenRows(lengths, width())}};
    const TensorView kv = Cache(device);
    for (const StepRuns& step : schedule) {
      const int64_t n = NumTokens(step);
      const PrepareAttentionParams p = Params(device, step, kv);
      const TensorView y = device.Output(device.storage(), {n, width()});
      device.backend().PrepareAttention(p);
      device.backend().Attention({.batch = p.batch,
                                  .q = p.q,
                                  .kv = kv,
                                  .next_kv = kv,
                                  .num_heads = num_heads,
                                  .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                                  .y = y});
      results["q"].Scatter(step, device.Floats(p.q));
      results["y"].Scatter(step, device.Floats(y));
    }
    return results;
  }
};

// Lengths on both sides of a page's end, for pages of 8 to 64 tokens.
const Lengths kAttentionLengths = {1, 16, 33, 70, 64};

// q, k and v as they are: y alone is under test.
TEST_P(OpTest, Attention) {
  Random random(1);
  for (int64_t head_dim : {1, 7, 16, 64, 80, 128}) {
    const AttentionCase op =
        AttentionCase::Make(random, kAttentionLengths, head_dim < 64 ? 3 : 2, head_dim);
    SCOPED_TRACE(op.ToString());
    TestDevice device = Device(), reference = ReferenceDevice();
    const Schedule schedule = RandomChunks(op.lengths, random);
    const OpResults actual = op.Run(device, schedule), expected = op.Run(reference, schedule);
    ExpectNear(actual.at("q"), expected.at("q"), {}, "q");
    // A backend may round the softmax weights to bf16 before it multiplies by the values.
    const Tolerance tolerance = bf16() ? Tolerance{4e-3f, 0x1p-7f} : Tolerance{1e-5f, 1e-5f};
    ExpectNear(actual.at("y"), expected.at("y"), tolerance, "y");
  }
}

// q is seen directly, the cached keys and values through y.
TEST_P(OpTest, PrepareAttention) {
  Random random(2);
  const std::vector<Activation> activations = {Activation::kIdentity, Activation::kSilu,
                                               Activation::kRelu, Activation::kEluPlusOne};
  for (int64_t head_dim : {1, 7, 16, 64, 80}) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      AttentionCase op = AttentionCase::Make(random, {1, 16, 33, 5}, 3, head_dim);
      op.rotated = random.Pick<int64_t>({0, 2 * (head_dim / 2), 2 * (head_dim / 4)});
      op.qk_norm = random.Chance(0.5);
      op.q_activation = random.Pick(activations);
      op.k_activation = random.Pick(activations);
      op.v_activation = random.Pick(activations);
      SCOPED_TRACE(op.ToString());
      TestDevice device = Device(), reference = ReferenceDevice();
      const Schedule schedule = RandomChunks(op.lengths, random);
      const OpResults actual = op.Run(device, schedule), expected = op.Run(reference, schedule);
      ExpectNear(actual.at("q"), expected.at("q"), ModelTolerance(1e-5f), "q");
      // In bf16 the roundings of q and k move a score by up to about 2^-8 of |q| |k| / sqrt(D).
      const Tolerance tolerance = bf16() ? Tolerance{4e-2f, 2e-2f} : Tolerance{2e-5f, 2e-5f};
      ExpectNear(actual.at("y"), expected.at("y"), tolerance, "y");
    }
  }
}

TEST_P(OpTest, AttentionOfAnyChunkingIsTheSameBits) {
  Random random(3);
  for (int64_t head_dim : {1, 7, 16, 64, 80}) {
    AttentionCase op = AttentionCase::Make(random, kAttentionLengths, 2, head_dim);
    op.rotated = 2 * (head_dim / 2);
    op.qk_norm = true;
    SCOPED_TRACE(op.ToString());
    TestDevice device = Device();
    ExpectRowsIndependent(op.lengths, [&](const Schedule& s) { return op.Run(device, s); });
  }
}

// Scores so large that their exponentials overflow unless the maximum is taken off first.
TEST_P(OpTest, AttentionSurvivesLargeScores) {
  Random random(4);
  AttentionCase op = AttentionCase::Make(random, {40}, 2, 16);
  op.qkv = TokenRows::Normals(op.lengths, op.qkv.width(), random, 64);
  TestDevice device = Device(), reference = ReferenceDevice();
  const OpResults actual = op.Run(device, OneStep(op.lengths));
  const OpResults expected = op.Run(reference, OneStep(op.lengths));
  ExpectNear(actual.at("y"), expected.at("y"), {1e-1f, bf16() ? 0x1p-7f : 1e-3f}, "y");
}

// A page that is copied serves another sequence as well as the original did.
TEST_P(OpTest, CopiedPagesAttendAlike) {
  Random random(5);
  const AttentionCase op = AttentionCase::Make(random, {9, 9}, 2, 16);
  TestDevice device = Device();
  const TensorView kv = op.Cache(device);
  const StepRuns prompt = {{0, 0, 8}};
  device.backend().PrepareAttention(op.Params(device, prompt, kv));

  const auto page_of = [&](int64_t sequence) {
    return device.Ints(UploadBatch(device, {{sequence, 8, 1}}, op.lengths).page_table)[0];
  };
  device.backend().CopyRows({.data = kv, .pairs = device.I32({1, 2}, {page_of(0), page_of(1)})});

  AttentionCase forked = op;
  forked.qkv.sequences()[1] = op.qkv.sequences()[0];
  const PrepareAttentionParams last = forked.Params(device, {{0, 8, 1}, {1, 8, 1}}, kv);
  const TensorView y = device.Output(device.storage(), {2, op.width()});
  device.backend().PrepareAttention(last);
  device.backend().Attention({.batch = last.batch,
                              .q = last.q,
                              .kv = kv,
                              .next_kv = kv,
                              .num_heads = 2,
                              .scale = 0.25f,
                              .y = y});
  EXPECT_EQ(device.Floats(y.Rows(0, 1)), device.Floats(y.Rows(1, 1)));
}

}  // namespace
}  // namespace deltaserve
