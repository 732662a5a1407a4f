#ifndef DELTASERVE_SERVER_OPTIONS_H_
#define DELTASERVE_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace deltaserve {

// What the server is told at its start: the fields of deltaserve.v1.ServerConfig, defaults filled
// in and values checked.
struct Options {
  struct Model {
    std::string name;
    std::string path;
  };
  std::vector<Model> models;  // at least one, names unique

  std::string listen;
  std::string metrics;         // empty: none
  std::string metrics_compat;  // "none" or "vllm"
  std::string device;          // "cpu", "reference", "auto" or "cuda:N[,cuda:M...]"
  std::string dtype;           // "auto", "bf16" or "fp32"
  int32_t threads = 0;
  std::vector<int32_t> cuda_devices;  // of such a `device`, each once
  double gpu_memory_utilization = 0;

  int32_t max_batch_tokens = 0;
  int32_t max_sequences = 0;
  int64_t kv_cache_tokens = 0;  // 0: as many as the device's memory has room for
  int32_t max_queued_requests = 0;
  int32_t max_queued_requests_per_tenant = 0;

  int32_t max_request_bytes = 0;
  int32_t max_continuations = 0;
  int32_t max_trace_tokens = 0;
  absl::Duration watchdog;
  absl::Duration drain;
  std::string log_level;  // "debug", "info", "warn" or "error"

  // 1e-9 USD; absent: not known.
  std::optional<int64_t> nanodollars_per_device_hour;
  std::optional<int64_t> nanodollars_per_kwh;
  // What the device can do; 0: to be measured.
  double device_gbytes_per_second = 0;
  double device_tflops = 0;

  std::string keys;            // the file; empty: none
  std::string ledger;          // the file; empty: none
  std::string ledger_failure;  // "refuse" or "continue"
  std::string admin;           // empty: none

  // Files; the first two both or neither, the third only beside them.
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
};

struct CommandLine {
  bool help = false;  // asked for; nothing else is set
  Options options;
};

// Reads the arguments, without the program's name, and the file that --config names. Each field of
// ServerConfig has a flag of its name, with dashes or underscores; flags win over the file, and
// --model, which may be repeated, over all of its models. INVALID_ARGUMENT names the flag, or the
// file and line; NOT_FOUND: the file cannot be read.
absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> args);

// What --help prints.
std::string HelpText();

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_OPTIONS_H_
