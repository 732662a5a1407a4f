#include "tests/kernels/sampling_case.h"

#include <cstring>

#include "gtest/gtest.h"

namespace deltaserve {
namespace {

template <typename T>
TensorView UploadWords(TestDevice& device, const std::vector<T>& items) {
  constexpr int64_t kWords = sizeof(T) / sizeof(int32_t);
  const int64_t count = static_cast<int64_t>(items.size());
  std::vector<int32_t> words(count * kWords);
  std::memcpy(words.data(), items.data(), words.size() * sizeof(int32_t));
  return device.I32({count, kWords}, words);
}

}  // namespace

SamplingCase::Result SamplingCase::Run(TestDevice& device) const {
  const int64_t num_logits_rows = static_cast<int64_t>(logits.size()) / vocab;
  const int64_t num_rows = static_cast<int64_t>(rows.size());
  SampleParams p = {
      .logits = device.F32({num_logits_rows, vocab}, logits),
      .first_row = first_row,
      .num_rows = num_rows,
      .rows = UploadWords(device, rows),
      .edits = {},
      .sampled_ids = device.Output(DType::kI32, {num_rows}),
      .last_ids = device.I32({num_slots}, std::vector<int32_t>(num_slots, -7)),
  };
  if (!edits.empty()) p.edits = UploadWords(device, edits);
  device.backend().Sample(p);
  const std::vector<float> after = device.Floats(p.logits);
  EXPECT_EQ(std::memcmp(after.data(), logits.data(), logits.size() * sizeof(float)), 0)
      << "Sample changed the logits";
  return {device.Ints(p.sampled_ids), device.Ints(p.last_ids)};
}

}  // namespace deltaserve
