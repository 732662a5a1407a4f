// The reference Boundary and Embed on cases small enough to work out by hand.
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/kernels/test_device.h"
#include "tests/kernels/token_rows.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::FloatNear;
using testing::Pointwise;

MATCHER(IsNear, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) <= 1e-5f; }

float Sigmoid(float z) { return 1 / (1 + std::exp(-z)); }

class ReferenceResidualTest : public testing::Test {
 protected:
  BatchView Batch(const StepRuns& step) { return UploadBatch(device_, step, {8}); }

  // A boundary of one token that reads with weight 1 from every channel and does nothing more.
  BoundaryParams OneToken(int64_t d_v, int64_t d, const std::vector<float>& x) {
    BoundaryParams p;
    p.batch = Batch({{0, 0, 1}});
    p.src = p.dst = device_.F32({1, d_v, d}, x);
    p.read = BoundaryParams::Read::kChannels;
    p.read_weight = device_.F32({d_v, d}, std::vector<float>(d_v * d, 1));
    p.norm_weight = device_.F32({d}, std::vector<float>(d, 1));
    p.norm_eps = 1e-5f;
    p.c = device_.Output(DType::kF32, {1, d});
    p.x_in = device_.Output(DType::kF32, {1, d});
    return p;
  }

  struct Update {
    std::vector<float> x, proj;
  };
  Update Delta(const std::vector<float>& x, const std::vector<float>& h, float beta,
               const std::vector<float>& v, float k_eps = 0) {
    const int64_t d_v = static_cast<int64_t>(v.size()), d = static_cast<int64_t>(h.size());
    BoundaryParams p = OneToken(d_v, d, x);
    p.write = BoundaryParams::Write::kDelta;
    p.h = device_.F32({1, d}, h);
    p.write_beta = device_.F32({1}, {beta});
    p.write_v = device_.F32({1, d_v}, v);
    p.k_eps = k_eps;
    p.proj = device_.Output(DType::kF32, {1, d_v});
    device_.backend().Boundary(p);
    return {device_.Floats(p.dst), device_.Floats(p.proj)};
  }

  TestDevice device_{MakeReferenceBackend(), DType::kF32, DType::kF32};
};

// h = (3, 4) has the direction k = (0.6, 0.8); the state's planes are (1, 2) and (-5, 0.5).
const std::vector<float> kState = {1, 2, -5, 0.5f};
const std::vector<float> kH = {3, 4};

TEST_F(ReferenceResidualTest, BetaZeroSkips) {
  const Update update = Delta(kState, kH, 0, {7, 8});
  EXPECT_THAT(update.x, ElementsAreArray(kState));
  EXPECT_THAT(update.proj, Pointwise(IsNear(), {2.2f, -2.6f}));
}

TEST_F(ReferenceResidualTest, BetaOneReplacesTheComponentAlongK) {
  const Update update = Delta(kState, kH, 1, {7, 8});
  // X + k (v - p): (1, 2) + 4.8 k and (-5, 0.5) + 10.6 k.
  EXPECT_THAT(update.x, Pointwise(IsNear(), {3.88f, 5.84f, 1.36f, 8.98f}));
  EXPECT_NEAR(0.6f * update.x[0] + 0.8f * update.x[1], 7, 1e-5f);
  EXPECT_NEAR(0.6f * update.x[2] + 0.8f * update.x[3], 8, 1e-5f);
}

TEST_F(ReferenceResidualTest, BetaTwoReflectsWhereVIsZero) {
  const Update update = Delta(kState, kH, 2, {0, 0});
  EXPECT_THAT(update.x, Pointwise(IsNear(), {-1.64f, -1.52f, -1.88f, 4.66f}));
  EXPECT_NEAR(update.x[0] * update.x[0] + update.x[1] * update.x[1], 5, 1e-5f);
}

TEST_F(ReferenceResidualTest, KEpsEntersSquared) {
  // |h|^2 + eps^2 = 9 + 16: k = 3/5.
  EXPECT_THAT(Delta({1}, {3}, 1, {2}, 4).x, Pointwise(IsNear(), {1 + 0.6f * (2 - 0.6f)}));
  EXPECT_THAT(Delta({1, 2}, {0, 0}, 1, {9}, 1e-5f).x, ElementsAre(1, 2));
}

TEST_F(ReferenceResidualTest, AddAddsAndReadsTheSum) {
  BoundaryParams p = OneToken(1, 2, {1, 2});
  p.write = BoundaryParams::Write::kAdd;
  p.read = BoundaryParams::Read::kIdentity;
  p.h = device_.F32({1, 2}, {10, -20});
  device_.backend().Boundary(p);
  EXPECT_THAT(device_.Floats(p.dst), ElementsAre(11, -18));
  EXPECT_THAT(device_.Floats(p.x_in), ElementsAre(11, -18));
}

// FORMAT.md 3.4: a "same" cross-correlation along the channels, then the read vector, against the
// one weight per channel that they fold into.
TEST_F(ReferenceResidualTest, FoldedChannelsAreTheUnfoldedConvolution) {
  const std::vector<float> w = {0.5f, -1, 2, 3}, rho = {1, -2, 0.25f, 4}, x = {1, 2, -3, 5};
  float unfolded = 0;
  for (int n = 0; n < 4; ++n) {
    for (int s = 0; s < 4; ++s) {
      if (n + s - 1 >= 0 && n + s - 1 < 4) unfolded += rho[n] * w[s] * x[n + s - 1];
    }
  }
  BoundaryParams p = OneToken(4, 1, x);
  p.read_weight = device_.F32(
      {4, 1}, {rho[0] * w[1] + rho[1] * w[0], rho[0] * w[2] + rho[1] * w[1] + rho[2] * w[0],
               rho[0] * w[3] + rho[1] * w[2] + rho[2] * w[1] + rho[3] * w[0],
               rho[1] * w[3] + rho[2] * w[2] + rho[3] * w[1]});
  device_.backend().Boundary(p);
  EXPECT_THAT(device_.Floats(p.x_in), ElementsAre(FloatNear(unfolded, 1e-5f)));
}

TEST_F(ReferenceResidualTest, NormGateAndTargetsByHand) {
  BoundaryParams p = OneToken(1, 2, {3, 4});
  p.norm_weight = device_.F32({2}, {2, 0.5f});
  p.norm_eps = 3.5f;  // (9 + 16) / 2 + 3.5 = 16
  p.beta_weight = device_.F32({2}, {1, -1});
  p.beta_bias = 0.25f;
  p.beta = device_.Output(DType::kF32, {1});
  p.v_weight = device_.F32({1, 2}, {0.1f, 0.2f});
  p.v_bias = device_.F32({1}, {-0.5f});
  p.v = device_.Output(DType::kF32, {1, 1});
  p.v_scale = 4;
  p.v_constant = 2.5f;

  p.target = BoundaryParams::Target::kSigmoid;
  device_.backend().Boundary(p);
  EXPECT_THAT(device_.Floats(p.c), ElementsAre(1.5f, 0.5f));
  EXPECT_NEAR(device_.Floats(p.beta)[0], 2 * Sigmoid(1.25f), 1e-6f);
  EXPECT_NEAR(device_.Floats(p.v)[0], 4 * Sigmoid(0.6f), 1e-6f);  // of x_in, not of c

  p.target = BoundaryParams::Target::kLinear;
  device_.backend().Boundary(p);
  EXPECT_NEAR(device_.Floats(p.v)[0], 0.6f, 1e-6f);

  p.target = BoundaryParams::Target::kConstant;
  device_.backend().Boundary(p);
  EXPECT_EQ(device_.Floats(p.v)[0], 2.5f);
}

// d = 1, d_v = 2, K = 3, five tokens with X_t = (t + 1, 10 (t + 1)).
class ReferenceTimeTest : public ReferenceResidualTest {
 protected:
  static constexpr float kTaps[3][2] = {{1, 0.5f}, {-2, 0.25f}, {3, 0.125f}};  // oldest first

  static float Z(int tap, int t) {
    return t < 0 ? 0 : static_cast<float>(t + 1) * (kTaps[tap][0] + 10 * kTaps[tap][1]);
  }
  static float Expected(int t) { return Z(0, t - 2) + Z(1, t - 1) + Z(2, t); }

  std::vector<float> Read(const std::vector<int64_t>& chunks) {
    tails_ = device_.F32({9, 2, 1}, std::vector<float>(18, 77));
    std::vector<float> x_in;
    int64_t begin = 0;
    for (int64_t count : chunks) {
      std::vector<float> state;
      for (int64_t t = begin; t < begin + count; ++t) {
        state.push_back(static_cast<float>(t + 1));
        state.push_back(static_cast<float>(10 * (t + 1)));
      }
      BoundaryParams p;
      p.batch = Batch({{0, begin, count}});
      p.src = p.dst = device_.F32({count, 2, 1}, state);
      p.read = BoundaryParams::Read::kTime;
      p.read_weight = device_.F32({3, 2, 1}, {1, 0.5f, -2, 0.25f, 3, 0.125f});
      p.tails = tails_;
      p.norm_weight = device_.F32({1}, {1});
      p.c = device_.Output(DType::kF32, {count, 1});
      p.x_in = device_.Output(DType::kF32, {count, 1});
      device_.backend().Boundary(p);
      for (float value : device_.Floats(p.x_in)) x_in.push_back(value);
      begin += count;
    }
    return x_in;
  }

  TensorView tails_;
};

TEST_F(ReferenceTimeTest, IsTheConvolutionOfFormat34HoweverItIsCut) {
  const std::vector<float> expected = {Expected(0), Expected(1), Expected(2), Expected(3),
                                       Expected(4)};
  for (const std::vector<int64_t>& chunks :
       std::vector<std::vector<int64_t>>{{5}, {1, 4}, {4, 1}, {2, 1, 2}, {1, 1, 1, 1, 1}}) {
    EXPECT_THAT(Read(chunks), ElementsAreArray(expected)) << testing::PrintToString(chunks);
  }
}

TEST_F(ReferenceTimeTest, TailsHoldWhatTheTokensSoFarContribute) {
  Read({1});
  EXPECT_THAT(device_.Floats(tails_.Rows(1, 1)), ElementsAre(Z(1, 0), Z(0, 0)));
  Read({2, 3});
  EXPECT_THAT(device_.Floats(tails_.Rows(1, 1)), ElementsAre(Z(0, 3) + Z(1, 4), Z(0, 4)));
  EXPECT_THAT(device_.Floats(tails_.Rows(0, 1)), ElementsAre(77, 77));
}

TEST_F(ReferenceTimeTest, ReadsTheUpdatedStateAndKeepsTheOld) {
  BoundaryParams p;
  p.batch = Batch({{0, 0, 2}});
  p.src = device_.F32({2, 1, 1}, {1, 2});
  p.dst = device_.Output(DType::kF32, {2, 1, 1});
  p.write = BoundaryParams::Write::kAdd;
  p.h = device_.F32({2, 1}, {10, 20});
  p.read = BoundaryParams::Read::kTime;
  p.read_weight = device_.F32({2, 1, 1}, {100, 1});
  p.tails = device_.F32({9, 1, 1}, std::vector<float>(9, 5));
  p.norm_weight = device_.F32({1}, {1});
  p.c = device_.Output(DType::kF32, {2, 1});
  p.x_in = device_.Output(DType::kF32, {2, 1});
  device_.backend().Boundary(p);
  EXPECT_THAT(device_.Floats(p.src), ElementsAre(1, 2));
  EXPECT_THAT(device_.Floats(p.dst), ElementsAre(11, 22));
  EXPECT_THAT(device_.Floats(p.x_in), ElementsAre(11, 1122));
}

class ReferenceEmbedTest : public ReferenceResidualTest {
 protected:
  EmbedParams Params(const StepRuns& step, const std::vector<int32_t>& ids) {
    const int64_t n = static_cast<int64_t>(ids.size());
    EmbedParams p;
    p.batch = Batch(step);
    p.token_ids = device_.I32({n}, ids);
    p.last_ids = device_.I32({9}, std::vector<int32_t>(9, 2));
    p.wte = device_.F32({3, 2}, {1, 2, 3, 4, 5, 6});
    p.x = device_.Output(DType::kF32, {n, 2, 2});
    return p;
  }
};

TEST_F(ReferenceEmbedTest, RepeatsTheEmbeddingInEveryChannel) {
  const EmbedParams p = Params({{0, 0, 2}}, {1, -1});
  device_.backend().Embed(p);
  EXPECT_THAT(device_.Floats(p.x), ElementsAre(3, 4, 3, 4, 5, 6, 5, 6));
}

TEST_F(ReferenceEmbedTest, ConvolvesWithTheIdsBefore) {
  const std::vector<float> conv = {100, 100, 0, 1, 10, 10, 0, 1, 1, 1, 0, 1};  // [3, 2, 2]
  EmbedParams p = Params({{0, 0, 2}}, {1, 0});
  p.conv = device_.F32({3, 2, 2}, conv);
  p.left_tokens = device_.I32({1, 2}, {-1, -1});
  device_.backend().Embed(p);
  EXPECT_THAT(device_.Floats(p.x), ElementsAre(3, 4, 0, 4, 31, 42, 0, 6));

  p = Params({{0, 2, 2}}, {2, 2});
  p.conv = device_.F32({3, 2, 2}, conv);
  p.left_tokens = device_.I32({1, 2}, {1, 0});
  device_.backend().Embed(p);
  EXPECT_THAT(device_.Floats(p.x), ElementsAre(315, 426, 0, 12, 155, 266, 0, 14));
}

TEST_F(ReferenceResidualTest, TwoLayerGateByHand) {
  const TensorView beta = device_.Output(DType::kF32, {1});
  device_.backend().TwoLayerGate({.hidden = device_.F32({1, 2}, {0.5f, -1}),
                                  .out_weight = device_.F32({2}, {2, 3}),
                                  .out_bias = 0.1f,
                                  .beta = beta});
  const float sum = 2 * std::tanh(0.5f) - 3 * std::tanh(1.0f) + 0.1f;
  EXPECT_NEAR(device_.Floats(beta)[0], 2 * Sigmoid(sum), 1e-6f);
}

}  // namespace
}  // namespace deltaserve
