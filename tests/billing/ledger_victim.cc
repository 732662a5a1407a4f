// Bills requests of a tenant with a budget and of one without, as fast as it can, until it is
// killed. What a caller would have been told goes to standard output, a line for each request.
//
//     ledger_victim LEDGER BUDGET SEED
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "server/billing/billed_queue.h"
#include "tests/billing/scripted_engine.h"

namespace deltaserve {
namespace {

constexpr int kThreads = 4;

// Reports in one write, so that no line is cut.
void Report(const std::string& line) {
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) std::abort();
}

int Run(const std::string& path, Picodollars budget, int seed) {
  auto ledger = UsageLedger::Open(path, {});
  if (!ledger.ok()) {
    std::fprintf(stderr, "%s\n", ledger.status().ToString().c_str());
    return 1;
  }
  Budgets budgets;
  if (!budgets.Load(**ledger).ok()) return 1;
  // Any request reserves a few cents.
  CostForecast forecast({.per_device_hour = 3600 * int64_t{1'000'000'000}, .per_kwh = {}}, 512);
  ModelCosts costs;
  costs.flops_per_token = 1;
  forecast.AddModel("demo", CostModel(costs, {.bytes_per_second = 1, .flops_per_second = 1e3}));
  ScriptedEngine engine;
  BilledQueue queue({.queue = engine,
                     .ledger = **ledger,
                     .budgets = budgets,
                     .forecast = forecast,
                     .cost_so_far = [](RequestId) { return 0; },
                     .now = absl::Now},
                    LedgerFailure::kRefuse);
  const auto rich = std::make_shared<Tenant>(Tenant{.name = "rich"});
  const auto poor =
      std::make_shared<Tenant>(Tenant{.name = "poor", .budget = Budget{.limit = budget}});

  std::atomic<RequestId> next = 1;
  const auto bill = [&](int thread) {
    std::minstd_rand random(seed * kThreads + thread + 1);
    while (true) {
      GenerateRequest request;
      request.id = next++;
      request.name = std::to_string(seed) + "-" + std::to_string(request.id);
      request.tenant = random() % 2 ? rich : poor;
      request.model = "demo";
      request.prompt = {1};
      request.max_tokens = 3;
      const RequestId id = request.id;
      const std::string name = request.name;
      const auto sink = std::make_shared<AwaitedSink>();
      if (!queue.Submit(std::move(request), sink).ok()) continue;
      engine.Finish(id, random() % 40'000'000'000);
      const RequestOutcome& outcome = sink->Await();
      if (outcome.status.ok() && outcome.usage.durable == true) {
        Report(name + " " + std::to_string(*outcome.usage.billed) + "\n");
      }
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(bill, t);
  for (std::thread& thread : threads) thread.join();
  return 0;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return deltaserve::Run(argv[1], std::atoll(argv[2]), std::atoi(argv[3]));
}
