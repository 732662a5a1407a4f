// Streams of a server, run at once by blocking clients.
#ifndef DELTASERVE_BENCH_STREAMS_H_
#define DELTASERVE_BENCH_STREAMS_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"

namespace deltaserve::bench {

struct StreamsOptions {
  int num_streams = 1;
  int64_t prompt_tokens = 96;     // random ids, of each stream its own
  int64_t generated_tokens = 64;  // greedily
  int64_t vocab_size = 0;
  uint64_t seed = 1;
};

struct StreamsReport {
  // From when the last stream has its first token until the first one has its last: while all of
  // them generate and none is in its prompt. Absent where they never did, as with a tiny model
  // whose first stream has ended before the last one begins.
  std::optional<double> tokens_per_s;
  double time_to_first_token_s = 0;  // from the call; the median over the streams
};

// Calls `while_running` now and then. The first error of a stream is that of the run; so is a
// stream that gives fewer tokens than asked for.
absl::StatusOr<StreamsReport> RunStreams(const Client& client, const StreamsOptions& options,
                                         const std::function<void()>& while_running);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_STREAMS_H_
