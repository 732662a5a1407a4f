#include "server/engine/cache_memory.h"

#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::StatusOr<CacheMemory> CacheMemory::Allocate(Backend& backend, const Decoder& decoder,
                                                  int64_t num_pages, int64_t num_slots) {
  CacheMemory memory;
  const auto reserve = [&](DType dtype, Shape shape) -> absl::StatusOr<TensorView> {
    const int64_t size_bytes = shape.NumElements() * SizeBytes(dtype);
    ASSIGN_OR_RETURN(Buffer buffer, backend.Allocate(size_bytes));
    const TensorView view = buffer.View(dtype, shape);
    memory.buffers_.push_back(std::move(buffer));
    memory.size_bytes_ += size_bytes;
    return view;
  };
  for (int64_t layer = 0; layer < decoder.config().num_hidden_layers; ++layer) {
    ASSIGN_OR_RETURN(memory.view_.kv.emplace_back(),
                     reserve(decoder.dtype(), decoder.KvShape(num_pages)));
  }
  const Shape tails = decoder.TailsShape(num_slots);
  if (tails.rank() > 0) {
    ASSIGN_OR_RETURN(memory.view_.tails, reserve(DType::kF32, tails));
  }
  ASSIGN_OR_RETURN(memory.view_.last_ids, reserve(DType::kI32, {num_slots}));
  return memory;
}

}  // namespace deltaserve
