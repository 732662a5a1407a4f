// What a run of `deltactl bench` comes to, as text and as JSON; bench_html.h has the plots.
#ifndef DELTASERVE_CLIENT_CLI_BENCH_REPORT_H_
#define DELTASERVE_CLIENT_CLI_BENCH_REPORT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "client/cli/bench_load.h"
#include "client/cli/json_output.h"

namespace deltaserve::cli {

// Of many calls or tokens, in seconds.
class Distribution {
 public:
  explicit Distribution(std::vector<double> values);

  bool empty() const { return sorted_.empty(); }
  const std::vector<double>& sorted() const { return sorted_; }
  // The least value that a share of `p` (0 to 1) of all do not exceed. 0 where there is none.
  double Quantile(double p) const;
  double Mean() const;

 private:
  std::vector<double> sorted_;
};

// In seconds of device time, or in USD where the server knows a price.
struct BenchCost {
  double total = 0;
  double per_million = 0;             // prompt and completion tokens together
  double per_million_prompt = 0;      // prefill ÷ prompt tokens that were computed
  double per_million_completion = 0;  // decode ÷ completion tokens
};

// Of the calls that were counted; latencies of those that ended OK, from when they were due.
struct BenchReport {
  struct Errors {
    int64_t count = 0;
    std::string message;  // the first
  };

  BenchLoad load;
  double seconds = 0;
  bool interrupted = false;
  int64_t calls = 0;
  int64_t ok = 0;
  std::map<std::string, Errors> errors;  // by the name of the status

  Distribution first_token{{}};
  Distribution inter_token{{}};  // from one message with tokens to the next
  Distribution total{{}};
  Distribution queued{{}};  // at the server, as its answers say
  Distribution late{{}};    // begun after they were due, by this client

  int64_t prompt_tokens = 0;  // as the answers' usage says
  int64_t completion_tokens = 0;
  double calls_per_second = 0;   // that ended OK in the measured time
  double tokens_per_second = 0;  // that came in the measured time, to whichever call
  double prompt_tokens_per_second = 0;
  std::vector<double> rates;                     // of tokens, in equal parts of the measured time
  std::optional<BenchCost> device_seconds = {};  // where the answers say; so are USD
  std::optional<BenchCost> usd = {};
};

BenchReport Summarize(const BenchLoad& load, const BenchRun& run);

// "open loop, 20 calls/s (Poisson)" and the like.
std::string LoopLine(const BenchLoad& load);
// "prompts of 128 tokens, 64 generated" and the like.
std::string TokensLine(const BenchLoad& load);

// "12 s: 3204 calls, 2 failed, 8 under way, 1234.5 tokens/s".
std::string ProgressLine(const BenchProgress& progress);

void PrintBench(const BenchReport& report, std::ostream& out);

// One object: loop (open or closed), rate or concurrency, warmup_seconds, seed, model,
// prompt_tokens and max_tokens (least, most) of the load; interrupted, seconds, calls, ok, errors
// (status: count, message); time_to_first_token, inter_token, total, queued, late (in seconds:
// mean, p50, p90, p99, max, count); calls_per_second, tokens_per_second, prompt_tokens_per_second,
// usage (prompt_tokens, completion_tokens); device_seconds and usd (total, per_million,
// per_million_prompt, per_million_completion; null where the server does not say).
Json ToJson(const BenchReport& report);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_BENCH_REPORT_H_
