#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/reference/reference_ops.h"

namespace deltaserve::reference {
namespace {

enum KeyOrValue { kKeys = 0, kValues = 1 };

// Where the key or value of one position and head lies: [pages, 2, H, page_tokens, D].
float* CacheEntry(const TensorView& kv, KeyOrValue which, const int32_t* pages, int64_t position,
                  int64_t head, int64_t head_dim) {
  assert(kv.dim(3) == kPageTokens * head_dim);
  float* page = kv.Row<float>(pages[position / kPageTokens]);
  return page + ((which * kv.dim(2) + head) * kPageTokens + position % kPageTokens) * head_dim;
}

float Activate(Activation activation, float z) {
  switch (activation) {
    case Activation::kIdentity:
      return z;
    case Activation::kSilu:
      return Silu(z);
    case Activation::kRelu:
      return std::max(z, 0.0f);
    case Activation::kEluPlusOne:
      return z > 0 ? z + 1 : std::exp(z);
  }
  return z;
}

// FORMAT.md 3.2 step 3: pair n joins entries n and n + r/2.
void Rotate(const PrepareAttentionParams& p, int64_t position, float* head) {
  const int64_t half = p.rope_cos.dim(1);
  const float* cosine = p.rope_cos.Row<float>(position);
  const float* sine = p.rope_sin.Row<float>(position);
  for (int64_t n = 0; n < half; ++n) {
    const float a = head[n], b = head[n + half];
    head[n] = a * cosine[n] - b * sine[n];
    head[n + half] = a * sine[n] + b * cosine[n];
  }
}

std::vector<float> PrepareHead(const PrepareAttentionParams& p, const float* in, int64_t head_dim,
                               Activation activation, int64_t position, const TensorView& norm) {
  std::vector<float> head(in, in + head_dim);
  for (float& z : head) z = Activate(activation, z);
  if (p.rope_cos) Rotate(p, position, head.data());
  if (norm) RmsNorm(head.data(), norm.As<float>(), p.norm_eps, head_dim, head.data());
  return head;
}

}  // namespace

void PrepareAttention(const PrepareAttentionParams& p) {
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  for (int64_t t = 0; t < p.batch.num_tokens; ++t) {
    const int64_t position = p.batch.positions.As<int32_t>()[t];
    const int32_t* pages = p.batch.page_table.Row<int32_t>(p.batch.sequence_of.As<int32_t>()[t]);
    for (int64_t head = 0; head < p.num_heads; ++head) {
      float* q = p.q.Row<float>(t) + head * head_dim;
      const float* k = p.k.Row<float>(t) + head * head_dim;
      const float* v = p.v.Row<float>(t) + head * head_dim;
      const std::vector<float> query =
          PrepareHead(p, q, head_dim, p.q_activation, position, p.q_norm);
      const std::vector<float> key =
          PrepareHead(p, k, head_dim, p.k_activation, position, p.k_norm);
      std::copy(query.begin(), query.end(), q);
      std::copy(key.begin(), key.end(), CacheEntry(p.kv, kKeys, pages, position, head, head_dim));
      std::transform(v, v + head_dim, CacheEntry(p.kv, kValues, pages, position, head, head_dim),
                     [&](float z) { return Activate(p.v_activation, z); });
    }
  }
}

void Attention(const AttentionParams& p) {
  const int64_t head_dim = p.q.dim(1) / p.num_heads;
  for (int64_t t = 0; t < p.batch.num_tokens; ++t) {
    const int64_t num_keys = p.batch.positions.As<int32_t>()[t] + 1;
    const int32_t* pages = p.batch.page_table.Row<int32_t>(p.batch.sequence_of.As<int32_t>()[t]);
    for (int64_t head = 0; head < p.num_heads; ++head) {
      const float* q = p.q.Row<float>(t) + head * head_dim;
      float* y = p.y.Row<float>(t) + head * head_dim;

      std::vector<float> weights(num_keys);
      for (int64_t s = 0; s < num_keys; ++s) {
        const float* key = CacheEntry(p.kv, kKeys, pages, s, head, head_dim);
        weights[s] = Dot(q, key, head_dim) * p.scale;
      }
      const float max = *std::max_element(weights.begin(), weights.end());
      float sum = 0;
      for (float& weight : weights) sum += weight = std::exp(weight - max);

      std::fill(y, y + head_dim, 0.0f);
      for (int64_t s = 0; s < num_keys; ++s) {
        const float* value = CacheEntry(p.kv, kValues, pages, s, head, head_dim);
        for (int64_t i = 0; i < head_dim; ++i) y[i] += weights[s] / sum * value[i];
      }
    }
  }
}

void HeadNormGate(const HeadNormGateParams& p) {
  const int64_t width = p.y.dim(1), head_dim = width / p.num_heads;
  for (int64_t t = 0; t < p.y.dim(0); ++t) {
    float* y = p.y.Row<float>(t);
    if (p.norm_weight) {
      for (float* head = y; head < y + width; head += head_dim) {
        RmsNorm(head, p.norm_weight.As<float>(), p.norm_eps, head_dim, head);
      }
    }
    if (p.gate) {
      for (int64_t i = 0; i < width; ++i) y[i] *= Silu(p.gate.Row<float>(t)[i]);
    }
  }
}

}  // namespace deltaserve::reference
