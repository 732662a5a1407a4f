#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/embed.cuh"
#include "kernels/cuda/launch.h"

namespace deltaserve::cuda {

void Embed(const EmbedParams& p, OpContext& context) {
  EmbedArgs args = {};
  args.token_ids = p.token_ids.As<int32_t>();
  args.last_ids = p.last_ids.As<int32_t>();
  args.sequence_of = p.batch.sequence_of.As<int32_t>();
  args.query_offsets = p.batch.query_offsets.As<int32_t>();
  args.state_slot = p.batch.state_slot.As<int32_t>();
  args.wte = p.wte.data;
  args.conv = p.conv.As<float>();
  args.x = p.x.As<float>();
  args.wte_stride = p.wte.row_stride;
  args.d = static_cast<int32_t>(p.x.dim(2));
  args.d_v = static_cast<int32_t>(p.x.dim(1));
  args.num_taps = 1;
  if (p.conv) {
    args.num_taps = static_cast<int32_t>(p.conv.dim(0));
    args.num_left = args.num_taps - 1;
    args.left_tokens = p.left_tokens.As<int32_t>();
  }
  const LaunchShape shape = {{Unsigned(p.batch.num_tokens), 1, 1}, kBlockThreads, 0};
  context.stream.Launch(p.wte.dtype == DType::kBF16 ? &EmbedKernel<BFloat16> : &EmbedKernel<float>,
                        shape, args);
}

}  // namespace deltaserve::cuda
