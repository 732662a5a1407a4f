// What this machine can do at best, now: hosts share memory and clocks, so it is measured again and
// again between the runs that are held against it.
#ifndef DELTASERVE_BENCH_MACHINE_H_
#define DELTASERVE_BENCH_MACHINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/workers.h"

namespace deltaserve::bench {

struct MachineLimits {
  double read_gb_s = 0;      // 1e9 bytes per second
  double matmul_gflops = 0;  // 1e9 operations per second, a multiply-add being two
};

// "AMD EPYC 9B14", as /proc/cpuinfo has it.
std::string CpuModel();
int64_t AvailableMemoryBytes();

// Not thread-safe. The backend must outlive it.
class Machine {
 public:
  // Products are measured in `dtype`.
  static absl::StatusOr<std::unique_ptr<Machine>> Make(Backend& backend, DType dtype,
                                                       int num_threads);

  // The best of five passes over 512 MiB, read by all threads, and the best of five products of
  // [512, 768] with [768, 2304], the weight coming from memory. Takes about a tenth of a second.
  absl::StatusOr<MachineLimits> Measure();

 private:
  Machine(Backend& backend, int num_threads) : backend_(backend), workers_(num_threads) {}

  double ReadSeconds();
  absl::StatusOr<double> MatmulSeconds();

  Backend& backend_;
  const cpu::Workers workers_;
  Buffer memory_;
  std::vector<std::unique_ptr<PackedLinear>> weights_;
  size_t next_weight_ = 0;
  Buffer x_, y_;
  DType dtype_ = DType::kF32;
  uint64_t checksum_ = 0;  // keeps the reads from being optimised away
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_MACHINE_H_
