#include "server/telemetry/load_sum.h"

#include <tuple>

namespace deltaserve {
namespace {

// a + sign * b.
ModelLoad Sum(const ModelLoad& a, const ModelLoad& b, int64_t sign) {
  ModelLoad sum;
  sum.requests_running = a.requests_running + sign * b.requests_running;
  sum.requests_waiting = a.requests_waiting + sign * b.requests_waiting;
  sum.pages_used = a.pages_used + sign * b.pages_used;
  sum.pages_free = a.pages_free + sign * b.pages_free;
  sum.slots_used = a.slots_used + sign * b.slots_used;
  sum.slots_free = a.slots_free + sign * b.slots_free;
  return sum;
}

auto Counts(const ModelLoad& load) {
  return std::tie(load.requests_running, load.requests_waiting, load.pages_used, load.pages_free,
                  load.slots_used, load.slots_free);
}

// Of the entry of that name.
ModelLoad& Find(std::map<std::string, ModelLoad, std::less<>>& loads, std::string_view model) {
  const auto found = loads.find(model);
  return found != loads.end() ? found->second : loads[std::string(model)];
}

}  // namespace

void LoadSum::Device::OnLoad(const ModelLoad& load) {
  ModelLoad& last = Find(last_, load.model);
  if (Counts(load) == Counts(last)) return;
  sum_.Add(load.model, Sum(load, last, -1));
  last = load;
  last.model = {};
}

void LoadSum::Add(std::string_view model, const ModelLoad& change) {
  MutexLock lock(&mutex_);
  ModelLoad& sum = Find(sums_, model);
  sum = Sum(sum, change, 1);
  ModelLoad reported = sum;
  reported.model = model;
  observer_.OnLoad(reported);  // under the lock: the last report is the latest
}

}  // namespace deltaserve
