// Tensor cores, as PTX describes them (kernels/cuda/mma.cuh says where each part lies).
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_TENSOR_CORE_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_TENSOR_CORE_H_

#include <cstdint>

#include "kernels/tensor.h"
#include "tests/cuda_emulation/emulator.h"

namespace deltaserve::cuda_emulation {

// One half of a register that holds two bf16.
inline float Half(uint32_t bits, int which) {
  return FromBFloat16(static_cast<uint16_t>(which == 0 ? bits : bits >> 16));
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
inline void MultiplyAdd(const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (&c)[4]) {
  struct Fragments {
    uint32_t a[4], b[2];
  };
  const Fragments own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const uint64_t* lanes = Exchange(~uint32_t{0}, reinterpret_cast<uint64_t>(&own));
  float sums[4] = {};
  for (int part = 0; part < 4; ++part) {
    const int row = Lane() / 4 + part / 2 * 8, column = Lane() % 4 * 2 + part % 2;
    for (int k = 0; k < 16; ++k) {
      const auto* a_lane = reinterpret_cast<const Fragments*>(lanes[row % 8 * 4 + k % 8 / 2]);
      const auto* b_lane = reinterpret_cast<const Fragments*>(lanes[column * 4 + k % 8 / 2]);
      sums[part] += Half(a_lane->a[row / 8 + k / 8 * 2], k % 2) * Half(b_lane->b[k / 8], k % 2);
    }
  }
  Exchange(~uint32_t{0}, 0);  // until then, all lanes' fragments are read
  for (int part = 0; part < 4; ++part) c[part] += sums[part];
}

// ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
template <typename Element>
void LoadTransposed(const Element* row, uint32_t (&parts)[4]) {
  static_assert(sizeof(Element) == 2);
  const uint64_t* lanes = Exchange(~uint32_t{0}, reinterpret_cast<uint64_t>(row));
  const auto bits = [&](int matrix, int r, int column) -> uint32_t {
    return reinterpret_cast<const Element*>(lanes[matrix * 8 + r])[column].bits;
  };
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int r = Lane() % 4 * 2, column = Lane() / 4;
    parts[matrix] = bits(matrix, r, column) | bits(matrix, r + 1, column) << 16;
  }
}

}  // namespace deltaserve::cuda_emulation

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_TENSOR_CORE_H_
