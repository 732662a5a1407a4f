// The reference attention ops and SwiGlu on cases small enough to work out by hand.
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/kernels/test_device.h"
#include "tests/kernels/token_rows.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::Pointwise;

MATCHER(IsNear, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) <= 1e-5f; }

float Silu(float z) { return z / (1 + std::exp(-z)); }

// One sequence of one head; positions from 0.
class ReferenceAttentionTest : public testing::Test {
 protected:
  PrepareAttentionParams Params(int64_t head_dim, const std::vector<float>& q,
                                const std::vector<float>& k, const std::vector<float>& v) {
    const int64_t n = static_cast<int64_t>(q.size()) / head_dim;
    PrepareAttentionParams p;
    p.batch = UploadBatch(device_, {{0, 0, n}}, {n});
    p.q = device_.F32({n, head_dim}, q);
    p.k = device_.F32({n, head_dim}, k);
    p.v = device_.F32({n, head_dim}, v);
    p.num_heads = 1;
    p.kv = device_.Zeros(
        DType::kF32, {NumPages(device_, {n}), 2, 1, device_.backend().page_tokens() * head_dim});
    return p;
  }

  // cos and sin of no turn at position 0 and of a quarter turn at position 1.
  void QuarterTurn(PrepareAttentionParams& p, int64_t pairs) {
    std::vector<float> cosines(2 * pairs, 0), sines(2 * pairs, 1);
    std::fill_n(cosines.begin(), pairs, 1.0f);
    std::fill_n(sines.begin(), pairs, 0.0f);
    p.rope_cos = device_.F32({2, pairs}, cosines);
    p.rope_sin = device_.F32({2, pairs}, sines);
  }

  std::vector<float> Attend(const PrepareAttentionParams& p, float scale = 1) {
    device_.backend().PrepareAttention(p);
    const TensorView y = device_.Output(DType::kF32, p.q.shape);
    device_.backend().Attention(
        {.batch = p.batch, .q = p.q, .kv = p.kv, .num_heads = 1, .scale = scale, .y = y});
    return device_.Floats(y);
  }

  TestDevice device_{MakeReferenceBackend(), DType::kF32, DType::kF32};
};

TEST_F(ReferenceAttentionTest, RotatesHalvesOfTheRotatedPartOnly) {
  const std::vector<float> q = {1, 2, 3, 4, 1, 2, 3, 4};
  PrepareAttentionParams p = Params(4, q, q, q);
  QuarterTurn(p, 2);
  device_.backend().PrepareAttention(p);
  // Pairs (0, 2) and (1, 3): (a, b) becomes (-b, a).
  EXPECT_THAT(device_.Floats(p.q), ElementsAre(1, 2, 3, 4, -3, -4, 1, 2));

  p = Params(4, q, q, q);
  QuarterTurn(p, 1);
  device_.backend().PrepareAttention(p);
  EXPECT_THAT(device_.Floats(p.q), ElementsAre(1, 2, 3, 4, -2, 1, 3, 4));
}

TEST_F(ReferenceAttentionTest, NormalisesAfterTheRotationAndTheActivation) {
  PrepareAttentionParams p = Params(2, {-1, 1, -1, 1}, {0, 0, 0, 0}, {0, 0, 0, 0});
  p.q_activation = Activation::kRelu;  // (0, 1)
  QuarterTurn(p, 1);                   // (-1, 0) at position 1
  p.q_norm = device_.F32({2}, {3, 5});
  p.k_norm = device_.F32({2}, {1, 1});
  p.norm_eps = 0.5f;  // 1/2 + 0.5 = 1
  device_.backend().PrepareAttention(p);
  EXPECT_THAT(device_.Floats(p.q), Pointwise(IsNear(), {0.0f, 5.0f, -3.0f, 0.0f}));
}

TEST_F(ReferenceAttentionTest, KeysAreCachedAsQueriesAre) {
  // k = (1, 0), turned at position 1 to (0, 1), doubled by the norm; q = (0, 1) is turned to
  // (-1, 0) there and doubled as well. Scores at position 1: q . k_0 = -4, q . k_1 = 0.
  PrepareAttentionParams p = Params(2, {0, 1, 0, 1}, {1, 0, 1, 0}, {0, 0, 1, 1});
  QuarterTurn(p, 1);
  p.q_norm = device_.F32({2}, {std::sqrt(2.0f), std::sqrt(2.0f)});
  p.k_norm = p.q_norm;
  const float weight = 1 / (1 + std::exp(-4.0f));
  EXPECT_THAT(Attend(p), Pointwise(IsNear(), {0.0f, 0.0f, weight, weight}));
}

TEST_F(ReferenceAttentionTest, SoftmaxByHand) {
  // Weights 1/4 and 3/4 at position 1.
  const PrepareAttentionParams p = Params(1, {1, 2}, {0, std::log(3.0f)}, {10, 20});
  EXPECT_THAT(Attend(p, 0.5f), Pointwise(IsNear(), {10.0f, 17.5f}));
}

TEST_F(ReferenceAttentionTest, SeesNothingAfterItself) {
  // Equal scores: y is the mean of the values so far, over three pages.
  std::vector<float> values(40), means(40);
  for (int t = 0; t < 40; ++t) {
    values[t] = static_cast<float>(t * t % 17);
    means[t] =
        std::accumulate(values.begin(), values.begin() + t + 1, 0.0f) / static_cast<float>(t + 1);
  }
  const std::vector<float> zeros(40, 0);
  EXPECT_THAT(Attend(Params(1, zeros, zeros, values)), Pointwise(IsNear(), means));
}

TEST_F(ReferenceAttentionTest, ActivationsByHand) {
  const std::vector<float> z = {-1.5f, 2};
  for (const auto& [activation, expected] : std::vector<std::pair<Activation, std::vector<float>>>{
           {Activation::kIdentity, {-1.5f, 2}},
           {Activation::kSilu, {Silu(-1.5f), Silu(2)}},
           {Activation::kRelu, {0, 2}},
           {Activation::kEluPlusOne, {std::exp(-1.5f), 3}}}) {
    PrepareAttentionParams p = Params(2, z, z, z);
    p.q_activation = p.v_activation = activation;
    EXPECT_THAT(Attend(p), Pointwise(IsNear(), expected));
    EXPECT_THAT(device_.Floats(p.q), Pointwise(IsNear(), expected));
  }
}

TEST_F(ReferenceAttentionTest, HeadNormGateByHand) {
  HeadNormGateParams p;
  p.y = device_.F32({1, 4}, {3, 4, 0, 2});
  p.num_heads = 2;
  p.norm_weight = device_.F32({2}, {1, 10});
  p.norm_eps = 3.5f;  // roots of 12.5 + 3.5 and 2 + 3.5
  p.gate = device_.F32({1, 4}, {1, -1, 0, 2});
  device_.backend().HeadNormGate(p);
  EXPECT_THAT(device_.Floats(p.y), Pointwise(IsNear(), {0.75f * Silu(1), 10 * Silu(-1), 0.0f,
                                                        20 / std::sqrt(5.5f) * Silu(2)}));
}

TEST_F(ReferenceAttentionTest, SwiGluByHand) {
  const TensorView out = device_.Output(DType::kF32, {1, 2});
  device_.backend().SwiGlu({.gate_up = device_.F32({1, 4}, {1, -2, 5, 7}), .out = out});
  EXPECT_THAT(device_.Floats(out), Pointwise(IsNear(), {5 * Silu(1), 7 * Silu(-2)}));
}

TEST_F(ReferenceAttentionTest, LinearStacksItsPartsAndReadsBFloat16) {
  const std::vector<float> first = {1, 2, 3, 4};
  const std::vector<uint16_t> second = {ToBFloat16(5), ToBFloat16(6)};
  const HostMatrix parts[] = {{first.data(), DType::kF32, 2, 2},
                              {second.data(), DType::kBF16, 1, 2}};
  auto weight = device_.backend().PackLinear(parts, DType::kF32);
  ASSERT_TRUE(weight.ok()) << weight.status();
  const TensorView y = device_.Output(DType::kF32, {1, 3});
  device_.backend().Linear({.weight = weight->get(), .x = device_.F32({1, 2}, {1, 10}), .y = y});
  EXPECT_THAT(device_.Floats(y), ElementsAre(21, 43, 65));
  EXPECT_EQ(device_.backend().PackLinear(parts, DType::kBF16).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deltaserve
