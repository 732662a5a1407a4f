// The load of `deltactl bench`: many streamed generations, and when each of their tokens came.
#ifndef DELTASERVE_CLIENT_CLI_BENCH_LOAD_H_
#define DELTASERVE_CLIENT_CLI_BENCH_LOAD_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"

namespace deltaserve::cli {

// Lengths are drawn evenly from it, its ends included.
struct TokenRange {
  int64_t least = 0;
  int64_t most = 0;
};

struct BenchLoad {
  // Open loop: calls begin at this many a second in a Poisson process, whatever became of those
  // before. Unset: closed loop, where `concurrency` callers each call again once answered.
  std::optional<double> rate = {};
  int64_t concurrency = 8;
  // An open loop has no more calls under way than this; what is due then waits, and its waiting is
  // measured.
  int64_t max_in_flight = 4096;

  // Seconds. Calls that were due while warming up are made, and not counted.
  double warmup = 1;
  // Of calls that are counted: this many, or those due in this time. Never more than kMostCalls.
  std::optional<int64_t> requests = {};
  double duration = 10;
  static constexpr int64_t kMostCalls = 1'000'000;

  std::string model;  // empty: the server's only one
  // Texts, taken in turn. None: random ids, which no cache knows, of this length.
  std::vector<std::string> prompts = {};
  TokenRange prompt_tokens = {128, 128};
  TokenRange max_tokens = {64, 64};  // random ids pass over the end of sequence, so get them all
  std::optional<float> temperature = {};
  uint64_t seed = 1;  // of all that is drawn: times, lengths, ids, and the calls' own seeds
};

struct TokenArrival {
  double at = 0;  // seconds, as in BenchCall
  int64_t tokens = 0;
};

// Times are in seconds since the end of the warm-up.
struct BenchCall {
  bool counted = false;  // it was due after the warm-up
  double due = 0;        // when it was to begin: latency counts from here
  double begun = 0;
  double ended = 0;
  absl::Status status;
  std::vector<TokenArrival> arrivals;  // a message with tokens each
  std::optional<v1::Usage> usage;
};

struct BenchRun {
  std::vector<BenchCall> calls;  // in the order they were due
  double seconds = 0;            // that were measured, from the end of the warm-up
  bool interrupted = false;
};

struct BenchProgress {
  double seconds = 0;  // since the end of the warm-up; below 0 while it lasts
  int64_t ended = 0;   // calls, of all
  int64_t failed = 0;
  int64_t in_flight = 0;
  double tokens_per_second = 0;  // since the last one
};

// Blocks until the last call has ended, telling `progress` about once a second. `options` are those
// of each call; its cancellation ends the run early, and calls that were cut off by it are left
// out. An error only where the model cannot be had: a call that fails is a result.
absl::StatusOr<BenchRun> RunBench(const Client& client, const BenchLoad& load,
                                  const CallOptions& options,
                                  const std::function<void(const BenchProgress&)>& progress);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_BENCH_LOAD_H_
