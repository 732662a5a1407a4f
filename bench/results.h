// What a run measured, before anything is made of it. Seconds, bytes and operations, one value a
// round; the rounds of all cells are interleaved.
#ifndef DELTASERVE_BENCH_RESULTS_H_
#define DELTASERVE_BENCH_RESULTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "bench/bench_model.h"
#include "bench/machine.h"
#include "server/model/config.h"

namespace deltaserve::bench {

// One kind of step of one model.
struct Cell {
  struct Round {
    double seconds = 0;    // of a step: the median of several
    MachineLimits limits;  // as measured just before and after
  };
  int64_t tokens = 0;  // computed (prefill) or generated (decode) by a step
  StepWork work;
  std::vector<Round> rounds;
};

struct EngineResult {
  ResidualKind kind = ResidualKind::kAdditive;
  std::map<int64_t, Cell> decode;  // by batch
  Cell prefill;                    // of kPrefillTokens
  Cell prompt;                     // of Options::PromptTokens(), as the server's streams have
};

struct ServerResult {
  struct Round {
    std::optional<double> tokens_per_s;  // of all streams, while all of them generate
    double time_to_first_token_ms = 0;   // the median over the streams
  };
  ResidualKind kind = ResidualKind::kAdditive;
  std::map<int64_t, std::vector<Round>> streams;  // by their number
  int64_t weight_bytes = 0, cache_bytes = 0;      // as the server's log has them
  int64_t rss_loaded_bytes = 0;                   // VmRSS when it listens
  int64_t rss_busy_bytes = 0;                     // the most VmRSS while streams ran
};

struct Results {
  std::vector<EngineResult> engine;
  std::vector<MachineLimits> limits;  // all that were measured
  std::vector<ServerResult> server;
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_RESULTS_H_
