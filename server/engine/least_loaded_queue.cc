#include "server/engine/least_loaded_queue.h"

#include <algorithm>
#include <cstdint>

namespace deltaserve {

template <typename Request>
absl::Status LeastLoadedQueue::SubmitToLeastLoaded(Request request,
                                                   std::shared_ptr<TokenSink> sink) {
  std::vector<std::pair<int64_t, RequestQueue*>> by_load;
  for (const Device& device : devices_) {
    if (device.engine->status().ok()) {
      by_load.emplace_back(device.engine->num_requests(), device.queue);
    }
  }
  if (by_load.empty()) by_load.emplace_back(0, devices_.front().queue);  // it says what is wrong
  std::stable_sort(by_load.begin(), by_load.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });

  absl::Status refused;
  for (size_t i = 0; i < by_load.size(); ++i) {
    const bool last = i + 1 == by_load.size();
    const absl::Status status =
        by_load[i].second->Submit(last ? std::move(request) : request, sink);
    if (!absl::IsUnavailable(status) && !absl::IsResourceExhausted(status)) return status;
    // Of a full queue the caller learns that waiting helps.
    if (refused.ok() || absl::IsUnavailable(refused)) refused = status;
  }
  return refused;
}

absl::Status LeastLoadedQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitToLeastLoaded(std::move(request), std::move(sink));
}

absl::Status LeastLoadedQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitToLeastLoaded(std::move(request), std::move(sink));
}

void LeastLoadedQueue::Cancel(RequestId id) {
  for (const Device& device : devices_) device.queue->Cancel(id);
}

void LeastLoadedQueue::EndForBudget(RequestId id) {
  for (const Device& device : devices_) device.queue->EndForBudget(id);
}

void LeastLoadedQueue::StopSample(RequestId id, int32_t sample) {
  for (const Device& device : devices_) device.queue->StopSample(id, sample);
}

}  // namespace deltaserve
