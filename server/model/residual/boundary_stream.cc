#include "server/model/residual/boundary_stream.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

// [d * d_v, 1, K_e] as stored -> [K_e, d_v, d].
std::vector<float> TransposeEmbedConv(absl::Span<const float> weight, int64_t d, int64_t d_v,
                                      int64_t kernel) {
  std::vector<float> planes(weight.size());
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j < d_v; ++j) {
      for (int64_t s = 0; s < kernel; ++s) {
        planes[(s * d_v + j) * d + i] = weight[(i * d_v + j) * kernel + s];
      }
    }
  }
  return planes;
}

}  // namespace

absl::Status BoundaryStream::LoadShared(const ModelConfig& config, const WeightLoader& loader) {
  backend_ = &loader.backend();
  d_v_ = config.d_v();
  norm_eps_ = static_cast<float>(config.BlockNormEps());
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const char* norm : {".ln_1.weight", ".ln_2.weight"}) {
      ASSIGN_OR_RETURN(norms_.emplace_back(),
                       loader.LoadVector(absl::StrCat("transformer.h.", layer, norm)));
    }
  }
  // The head is linear: its factor m (FORMAT.md 3.3) rides on the last norm's weight.
  ASSIGN_OR_RETURN(std::vector<float> ln_f, loader.Read("ln_f.weight"));
  for (float& weight : ln_f) weight *= static_cast<float>(config.LogitScale());
  ASSIGN_OR_RETURN(norms_.emplace_back(), loader.Upload(ln_f, {config.hidden_size}));

  if (!config.has_ec()) return absl::OkStatus();
  const int64_t kernel = config.input_embed_shortconv_kernel_size;
  ASSIGN_OR_RETURN(std::vector<float> conv, loader.Read("input_embed.conv.weight"));
  ASSIGN_OR_RETURN(embed_conv_,
                   loader.Upload(TransposeEmbedConv(conv, config.hidden_size, d_v_, kernel),
                                 {kernel, d_v_, config.hidden_size}));
  return absl::OkStatus();
}

void BoundaryStream::Begin(const Step& step, const CacheView& cache, TensorView wte, TensorView x,
                           SublayerIo& io) const {
  EmbedParams embed;
  embed.batch = step.batch;
  embed.token_ids = step.token_ids;
  embed.last_ids = cache.last_ids;
  embed.left_tokens = step.left_tokens;
  embed.wte = wte;
  embed.conv = embed_conv_.view;
  embed.x = x;
  backend_->Embed(embed);
  Run(step, cache, std::nullopt, Site{}, io, x, x);
}

void BoundaryStream::Cross(const Step& step, const CacheView& cache, Site done, Site next,
                           SublayerIo& io, TensorView src, TensorView dst) const {
  Run(step, cache, done, next, io, src, dst);
}

void BoundaryStream::Finish(const Step& step, const CacheView& cache, Site done, SublayerIo& io,
                            TensorView src, TensorView dst) const {
  Run(step, cache, done, std::nullopt, io, src, dst);
}

void BoundaryStream::Run(const Step& step, const CacheView& cache, std::optional<Site> done,
                         std::optional<Site> next, SublayerIo& io, TensorView src,
                         TensorView dst) const {
  BoundaryParams boundary;
  boundary.batch = step.batch;
  boundary.src = src;
  boundary.dst = dst;
  if (done) SetWrite(boundary, *done, io);
  SetRead(boundary, next, cache, io);
  boundary.norm_weight = (next ? norms_[next->index()] : norms_.back()).view;
  boundary.norm_eps = norm_eps_;
  boundary.c = io.c;
  backend_->Boundary(boundary);
}

}  // namespace deltaserve
