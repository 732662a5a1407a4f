// The one random number behind a sampled token: a function of (seed, stream, position) alone, so
// that a draw depends neither on the batch nor on the backend. Philox4x32-10 of Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3" (SC 2011): integers only, the same bits everywhere.
#ifndef DELTASERVE_KERNELS_UNIFORM_DRAW_H_
#define DELTASERVE_KERNELS_UNIFORM_DRAW_H_

#include <cstdint>

// Also included by device code.
#if defined(__CUDACC__)
#define DELTASERVE_HOST_DEVICE __host__ __device__
#else
#define DELTASERVE_HOST_DEVICE
#endif

namespace deltaserve {

struct PhiloxCounter {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t word[2];
};

// Ten rounds of the Philox bijection on the counter.
DELTASERVE_HOST_DEVICE inline PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key.word[0],
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key.word[1],
                static_cast<uint32_t>(product0)}};
    key.word[0] += 0x9E3779B9;
    key.word[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform on the multiples of 2^-53 in [0, 1).
DELTASERVE_HOST_DEVICE inline double UniformDraw(uint64_t seed, uint32_t stream,
                                                 uint32_t position) {
  const PhiloxCounter bits =
      Philox4x32({{position, stream, 0, 0}},
                 {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}});
  const uint64_t wide = uint64_t{bits.word[0]} << 32 | bits.word[1];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_UNIFORM_DRAW_H_
