// How `deltactl cost` shows what it measured, but for the plot (cost_plot.h).
#ifndef DELTASERVE_CLIENT_CLI_COST_OUTPUT_H_
#define DELTASERVE_CLIENT_CLI_COST_OUTPUT_H_

#include <ostream>
#include <string>

#include "client/cli/cost_measurement.h"
#include "client/cli/json_output.h"

namespace deltaserve::cli {

// What the numbers are: "USD per million tokens, at 2.49 USD per device hour"; where costs are not
// known in USD, device seconds.
std::string Heading(const CostReport& report);
// How they came about: "each request: 128 prompt tokens, 64 completion tokens; medians of 3 rounds,
// ratios within each".
std::string LoadLine(const CostReport& report);
// The cost as Heading() says.
double Shown(const CostReport& report, const TokenCost& cost);
// With so many digits that count: "0.01234", "12340".
std::string Number(double value, int digits);

// A line for each model, and below it the ratio to its additive twin.
void PrintCosts(const CostReport& report, std::ostream& out);

// unit ("usd" or "device_seconds"), usd_per_device_hour, prompt_tokens, completion_tokens, rounds;
// models: name, residual, value_channels, dtype, device, additive (the twin's name, or null) and
// batches: batch; prompt, completion: device_seconds_per_million, usd_per_million, of_additive.
Json ToJson(const CostReport& report);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COST_OUTPUT_H_
