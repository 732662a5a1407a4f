// What `deltactl usage` prints: a line for each total, or one for a request.
#ifndef DELTASERVE_CLIENT_CLI_USAGE_OUTPUT_H_
#define DELTASERVE_CLIENT_CLI_USAGE_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "client/cli/json_output.h"
#include "deltaserve/v1/admin.pb.h"

namespace deltaserve::cli {

// Names, and in each row as many values: strings, numbers, or null where something is not known.
// Columns that tell nothing of any row are left out of totals.
struct UsageTable {
  std::vector<std::string> names;
  std::vector<std::vector<Json>> rows;
};

UsageTable TableOf(const v1::GetUsageResponse& response);

// A request, or a single total, one value below the other; several, a line each, without the
// columns that are 0 in all of them.
void PrintText(const UsageTable& table, std::ostream& out);
// RFC 4180, with a header.
void PrintCsv(const UsageTable& table, std::ostream& out);
// A list `usage` of objects.
Json ToJson(const UsageTable& table);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_USAGE_OUTPUT_H_
