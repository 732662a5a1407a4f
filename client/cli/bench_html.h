#ifndef DELTASERVE_CLIENT_CLI_BENCH_HTML_H_
#define DELTASERVE_CLIENT_CLI_BENCH_HTML_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/bench_report.h"

namespace deltaserve::cli {

// One page that needs nothing beside it: the numbers of PrintBench, how the latencies are
// distributed, and tokens per second over the run.
std::string BenchPage(const BenchReport& report);

absl::Status WriteBenchPage(const BenchReport& report, const std::string& path);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_BENCH_HTML_H_
