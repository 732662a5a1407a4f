// What a run's results come to: rates, shares of the machine's limits, ratios, goals.
#ifndef DELTASERVE_BENCH_REPORT_H_
#define DELTASERVE_BENCH_REPORT_H_

#include <string>

#include "bench/options.h"
#include "bench/results.h"
#include "nlohmann/json.hpp"

namespace deltaserve::bench {

// The keys are explained in bench/README.md. Numbers that were not measured are null.
nlohmann::ordered_json ToJson(const Options& options, const Results& results);

// Tables of what ToJson() returned, the goals beside, as Markdown that a terminal shows well too.
std::string ToMarkdown(const nlohmann::ordered_json& report);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_REPORT_H_
