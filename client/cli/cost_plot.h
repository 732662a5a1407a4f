#ifndef DELTASERVE_CLIENT_CLI_COST_PLOT_H_
#define DELTASERVE_CLIENT_CLI_COST_PLOT_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/cost_measurement.h"

namespace deltaserve::cli {

// Writes bars of what prompt and completion tokens cost, by batch and model, each with its value
// and its ratio to the additive twin, as a PNG file.
absl::Status PlotCosts(const CostReport& report, const std::string& path);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_COST_PLOT_H_
