#ifndef DELTASERVE_TESTS_SUPPORT_PROCESS_SERVER_PROCESS_H_
#define DELTASERVE_TESTS_SUPPORT_PROCESS_SERVER_PROCESS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/support/process/subprocess.h"

namespace deltaserve {

// The samples of a Prometheus exposition.
class MetricsSnapshot {
 public:
  // Comments and lines that are no samples are passed over.
  explicit MetricsSnapshot(const std::string& exposition);

  // The sum over all samples of the family `name` whose labels contain all of `labels`, each as
  // written: `state="used"`. 0 where there is none.
  double Sum(const std::string& name, const std::vector<std::string>& labels = {}) const;
  bool Has(const std::string& name) const;

 private:
  struct Sample {
    std::string name, labels;
    double value;
  };
  std::vector<Sample> samples_;
};

// The real server, `deltaserve`, on free ports of loopback. The binary is that of the environment's
// DELTASERVE_BINARY, else the one of this build.
class ServerProcess {
 public:
  // Blocks until it listens; `flags` come after those of the ports.
  static absl::StatusOr<ServerProcess> Start(const std::vector<std::string>& flags,
                                             absl::Duration timeout = absl::Seconds(60));

  const std::string& address() const { return address_; }
  const std::string& metrics_address() const { return metrics_address_; }

  absl::StatusOr<MetricsSnapshot> ScrapeMetrics() const;

  // SIGTERM, then the exit status once it has ended.
  absl::StatusOr<int> Stop(absl::Duration timeout = absl::Seconds(60));

  Subprocess& process() { return *process_; }

 private:
  std::unique_ptr<Subprocess> process_;
  std::string address_;          // host:port
  std::string metrics_address_;  // host:port
};

// The body of http://`address``path`, which must answer with 200.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_PROCESS_SERVER_PROCESS_H_
