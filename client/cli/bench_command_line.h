#ifndef DELTASERVE_CLIENT_CLI_BENCH_COMMAND_LINE_H_
#define DELTASERVE_CLIENT_CLI_BENCH_COMMAND_LINE_H_

#include <CLI/CLI.hpp>

#include "client/cli/command_line.h"

namespace deltaserve::cli {

// Adds the command `bench`, but for the options that all commands have. Parsing fills `bench`.
CLI::App& AddBench(CLI::App& app, CommandLine::Bench& bench);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_BENCH_COMMAND_LINE_H_
