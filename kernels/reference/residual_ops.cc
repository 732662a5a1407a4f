#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/reference/reference_ops.h"

namespace deltaserve::reference {
namespace {

// The id at `t - back` in the sequence of token t; -1 before position 0.
int32_t TokenBefore(const EmbedParams& p, int64_t t, int64_t back) {
  const int32_t sequence = p.batch.sequence_of.As<int32_t>()[t];
  const int64_t run_begin = p.batch.query_offsets.As<int32_t>()[sequence];
  if (t - back < run_begin) {
    const int64_t num_left = p.left_tokens.dim(1);
    return p.left_tokens.Row<int32_t>(sequence)[num_left - (back - (t - run_begin))];
  }
  const int32_t id = p.token_ids.As<int32_t>()[t - back];
  if (id >= 0) return id;
  return p.last_ids.As<int32_t>()[p.batch.state_slot.As<int32_t>()[sequence]];
}

// X_j += beta (v_j - p_j) k, with k the direction of h and p_j = k . X_j (FORMAT.md 3.3).
void DeltaUpdate(const BoundaryParams& p, int64_t t, float* x) {
  const int64_t d_v = p.src.dim(1), d = p.src.dim(2);
  const float* h = p.h.Row<float>(t);
  const float beta = p.write_beta.As<float>()[t];
  const float length = std::sqrt(Dot(h, h, d) + p.k_eps * p.k_eps);
  std::vector<float> k(h, h + d);
  for (float& k_i : k) k_i /= length;
  for (int64_t j = 0; j < d_v; ++j) {
    const float projection = Dot(k.data(), x + j * d, d);
    const float step = beta * (p.write_v.Row<float>(t)[j] - projection);
    for (int64_t i = 0; i < d; ++i) x[j * d + i] += step * k[i];
    if (p.proj) p.proj.Row<float>(t)[j] = projection;
  }
}

// X of token t after the write, in dst and returned.
std::vector<float> WriteState(const BoundaryParams& p, int64_t t) {
  const int64_t size = p.src.dim(1) * p.src.dim(2);
  const float* src = p.src.Row<float>(t);
  std::vector<float> x(src, src + size);
  if (p.write == BoundaryParams::Write::kAdd) {
    for (int64_t i = 0; i < size; ++i) x[i] += p.h.Row<float>(t)[i];
  } else if (p.write == BoundaryParams::Write::kDelta) {
    DeltaUpdate(p, t, x.data());
  }
  if (p.dst) std::copy(x.begin(), x.end(), p.dst.Row<float>(t));
  return x;
}

// out[i] = sum_j weight[j, i] X[j, i].
std::vector<float> ReadChannels(const float* weight, const std::vector<float>& x, int64_t d) {
  std::vector<float> out(d, 0.0f);
  for (size_t n = 0; n < x.size(); ++n) out[n % d] += weight[n] * x[n];
  return out;
}

// x_in of one token from its state and, with kTime, the tail [K-1, d] that the tokens before it
// left; the tail moves on by one token. Every entry is a sum whose oldest term comes first, so a
// chunk boundary changes no bit.
std::vector<float> ReadState(const BoundaryParams& p, const std::vector<float>& x, float* tail) {
  const int64_t d = p.src.dim(2);
  switch (p.read) {
    case BoundaryParams::Read::kIdentity:
      return x;
    case BoundaryParams::Read::kChannels:
      return ReadChannels(p.read_weight.As<float>(), x, d);
    case BoundaryParams::Read::kTime:
      break;
  }
  const int64_t num_taps = p.read_weight.dim(0);
  std::vector<float> x_in(d);
  for (int64_t ahead = 0; ahead < num_taps; ++ahead) {
    const std::vector<float> z = ReadChannels(p.read_weight.Row<float>(num_taps - 1 - ahead), x, d);
    const bool oldest = ahead == num_taps - 1;
    const float* before = oldest ? nullptr : tail + ahead * d;
    float* after = ahead == 0 ? x_in.data() : tail + (ahead - 1) * d;
    for (int64_t i = 0; i < d; ++i) after[i] = oldest ? z[i] : before[i] + z[i];
  }
  return x_in;
}

void MakeTarget(const BoundaryParams& p, const std::vector<float>& x_in, float* v) {
  using Target = BoundaryParams::Target;
  for (int64_t j = 0; j < p.v.dim(1); ++j) {
    if (p.target == Target::kConstant) {
      v[j] = p.v_constant;
      continue;
    }
    const float u = Dot(p.v_weight.Row<float>(j), x_in.data(), static_cast<int64_t>(x_in.size())) +
                    p.v_bias.As<float>()[j];
    v[j] = p.target == Target::kSigmoid ? p.v_scale * Sigmoid(u) : u;
  }
}

void CrossToken(const BoundaryParams& p, int64_t t, float* tail) {
  const int64_t d = p.src.dim(2);
  const std::vector<float> x = WriteState(p, t);
  const std::vector<float> x_in = ReadState(p, x, tail);
  if (p.x_in) std::copy(x_in.begin(), x_in.end(), p.x_in.Row<float>(t));

  float* c = p.c.Row<float>(t);
  RmsNorm(x_in.data(), p.norm_weight.As<float>(), p.norm_eps, d, c);
  if (p.beta_weight) {
    p.beta.As<float>()[t] = 2 * Sigmoid(Dot(p.beta_weight.As<float>(), c, d) + p.beta_bias);
  }
  if (p.target != BoundaryParams::Target::kNone) MakeTarget(p, x_in, p.v.Row<float>(t));
}

}  // namespace

void Embed(const EmbedParams& p) {
  const int64_t d_v = p.x.dim(1), d = p.x.dim(2);
  for (int64_t t = 0; t < p.batch.num_tokens; ++t) {
    float* x = p.x.Row<float>(t);
    if (!p.conv) {
      const float* embedding = p.wte.Row<float>(TokenBefore(p, t, 0));
      for (int64_t j = 0; j < d_v; ++j) std::copy(embedding, embedding + d, x + j * d);
      continue;
    }
    std::fill(x, x + d_v * d, 0.0f);
    const int64_t num_taps = p.conv.dim(0);
    for (int64_t tap = 0; tap < num_taps; ++tap) {
      const int32_t id = TokenBefore(p, t, num_taps - 1 - tap);
      if (id < 0) continue;
      const float* embedding = p.wte.Row<float>(id);
      const float* weight = p.conv.Row<float>(tap);
      for (int64_t n = 0; n < d_v * d; ++n) x[n] += weight[n] * embedding[n % d];
    }
  }
}

void Boundary(const BoundaryParams& p) {
  assert(p.src.dtype == DType::kF32);
  const bool has_tails = p.read == BoundaryParams::Read::kTime && p.read_weight.dim(0) > 1;
  const int32_t* query_offsets = p.batch.query_offsets.As<int32_t>();
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    const int32_t begin = query_offsets[s], end = query_offsets[s + 1];
    if (begin == end) continue;
    float* tail = nullptr;
    if (has_tails) {
      tail = p.tails.Row<float>(p.batch.state_slot.As<int32_t>()[s]);
      const bool starts_sequence = p.batch.positions.As<int32_t>()[begin] == 0;
      if (starts_sequence) std::fill(tail, tail + p.tails.dim(1) * p.tails.dim(2), 0.0f);
    }
    for (int32_t t = begin; t < end; ++t) CrossToken(p, t, tail);
  }
}

void TwoLayerGate(const TwoLayerGateParams& p) {
  for (int64_t t = 0; t < p.hidden.dim(0); ++t) {
    float sum = 0;
    for (int64_t i = 0; i < p.hidden.dim(1); ++i) {
      sum += p.out_weight.As<float>()[i] * std::tanh(p.hidden.Row<float>(t)[i]);
    }
    p.beta.As<float>()[t] = 2 * Sigmoid(sum + p.out_bias);
  }
}

}  // namespace deltaserve::reference
