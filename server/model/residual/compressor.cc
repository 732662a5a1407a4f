#include "server/model/residual/compressor.h"

#include "absl/strings/str_cat.h"

namespace deltaserve {

std::vector<float> FoldChannelTaps(absl::Span<const float> weight, absl::Span<const float> read,
                                   int64_t hidden_size) {
  const int64_t d_v = read.size();
  const int64_t kernel = d_v;
  const int64_t left_padding = (kernel - 1) / 2;
  std::vector<float> folded(d_v * hidden_size);
  for (int64_t j = 0; j < d_v; ++j) {
    for (int64_t i = 0; i < hidden_size; ++i) {
      double sum = 0;
      for (int64_t n = 0; n < d_v; ++n) {
        const int64_t tap = j - n + left_padding;
        if (tap >= 0 && tap < kernel) sum += double{read[n]} * weight[i * kernel + tap];
      }
      folded[j * hidden_size + i] = static_cast<float>(sum);
    }
  }
  return folded;
}

std::vector<float> FoldTokenTaps(absl::Span<const float> weight, absl::Span<const float> read,
                                 int64_t hidden_size) {
  const int64_t d_v = read.size();
  const int64_t kernel = weight.size() / (hidden_size * d_v);
  std::vector<float> folded(weight.size());
  for (int64_t s = 0; s < kernel; ++s) {
    for (int64_t j = 0; j < d_v; ++j) {
      for (int64_t i = 0; i < hidden_size; ++i) {
        folded[(s * d_v + j) * hidden_size + i] = read[j] * weight[(i * d_v + j) * kernel + s];
      }
    }
  }
  return folded;
}

absl::StatusOr<Compressor> Compressor::Load(const ModelConfig& config, const std::string& prefix,
                                            const WeightLoader& loader) {
  const int64_t d = config.hidden_size;
  const int64_t d_v = config.d_v();
  auto read = loader.Read(absl::StrCat(prefix, ".read"));
  if (!read.ok()) return read.status();
  auto weight = loader.Read(absl::StrCat(prefix, config.is_tc() ? ".shortconv.weight" : ".weight"));
  if (!weight.ok()) return weight.status();

  Compressor compressor;
  compressor.read_ = config.is_tc() ? BoundaryParams::Read::kTime : BoundaryParams::Read::kChannels;
  auto uploaded = config.is_tc() ? loader.Upload(FoldTokenTaps(*weight, *read, d),
                                                 {config.ddl_state_shortconv_kernel_size, d_v, d})
                                 : loader.Upload(FoldChannelTaps(*weight, *read, d), {d_v, d});
  if (!uploaded.ok()) return uploaded.status();
  compressor.weight_ = *std::move(uploaded);
  return compressor;
}

void Compressor::SetRead(BoundaryParams& boundary, int64_t call, TensorView tails) const {
  boundary.read = read_;
  boundary.read_weight = weight_.view;
  if (read_ != BoundaryParams::Read::kTime || !tails) return;
  // One call's rows of every slot: [slots, K-1, d] inside [slots, calls, K-1, d].
  const int64_t rows = tails.dim(2);
  const int64_t width = tails.dim(3);
  const auto of_call = [&](int64_t index) {
    TensorView own(tails.As<float>() + index * rows * width, DType::kF32,
                   {tails.dim(0), rows, width});
    own.row_stride = tails.row_stride;
    return own;
  };
  boundary.tails = of_call(call);
  if (call + 1 < tails.dim(1)) boundary.next_tails = of_call(call + 1);
}

}  // namespace deltaserve
