#include "bench/machine.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "bench/stopwatch.h"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

constexpr int kPasses = 5;
constexpr int64_t kReadBytes = int64_t{512} << 20;
constexpr int64_t kRows = 512, kIn = 768, kOut = 2304;
// More than caches hold.
constexpr int64_t kWeightsBytes = int64_t{96} << 20;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#endif
uint64_t
Sum(const uint64_t* words, int64_t count) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

// The value of the first line "key : value" of a file of /proc; empty where there is none.
std::string ProcValue(const char* path, absl::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (parts.size() == 2 && absl::StripAsciiWhitespace(parts[0]) == key) {
      return std::string(absl::StripAsciiWhitespace(parts[1]));
    }
  }
  return "";
}

// Never zeros, which some machines fetch and multiply faster.
std::vector<uint8_t> RandomValues(int64_t count, DType dtype, float scale) {
  std::vector<uint8_t> bytes(count * SizeBytes(dtype));
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  for (int64_t i = 0; i < count; ++i) {
    const float value = uniform(random);
    if (dtype == DType::kBF16) {
      reinterpret_cast<uint16_t*>(bytes.data())[i] = ToBFloat16(value);
    } else {
      reinterpret_cast<float*>(bytes.data())[i] = value;
    }
  }
  return bytes;
}

}  // namespace

std::string CpuModel() { return ProcValue("/proc/cpuinfo", "model name"); }

int64_t AvailableMemoryBytes() {
  const std::string value = ProcValue("/proc/meminfo", "MemAvailable");  // "123456 kB"
  int64_t kib = 0;
  if (!absl::SimpleAtoi(value.substr(0, value.find(' ')), &kib)) return 0;
  return kib << 10;
}

absl::StatusOr<std::unique_ptr<Machine>> Machine::Make(Backend& backend, DType dtype,
                                                       int num_threads) {
  auto machine = std::unique_ptr<Machine>(new Machine(backend, num_threads));
  machine->dtype_ = dtype;
  ASSIGN_OR_RETURN(machine->memory_, backend.Allocate(kReadBytes));
  auto* words = static_cast<uint64_t*>(machine->memory_.data());
  for (int64_t i = 0; i < kReadBytes / 8; ++i) words[i] = (i + 1) * 0x9e3779b97f4a7c15;

  const std::vector<uint8_t> matrix = RandomValues(kOut * kIn, dtype, 0.05f);
  const HostMatrix host = {matrix.data(), dtype, kOut, kIn};
  for (int64_t size_bytes = 0; size_bytes < kWeightsBytes;) {
    ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> weight, backend.PackLinear({&host, 1}, dtype));
    size_bytes += weight->size_bytes();
    machine->weights_.push_back(std::move(weight));
  }
  const std::vector<uint8_t> x = RandomValues(kRows * kIn, dtype, 1);
  ASSIGN_OR_RETURN(machine->x_, backend.Allocate(static_cast<int64_t>(x.size())));
  backend.CopyToDevice(machine->x_.data(), x.data(), static_cast<int64_t>(x.size()));
  ASSIGN_OR_RETURN(machine->y_, backend.Allocate(kRows * kOut * 4));
  RETURN_IF_ERROR(machine->Measure().status());  // the first is slower
  return machine;
}

absl::StatusOr<MachineLimits> Machine::Measure() {
  double read_seconds = std::numeric_limits<double>::max();
  double matmul_seconds = std::numeric_limits<double>::max();
  for (int i = 0; i < kPasses; ++i) {
    read_seconds = std::min(read_seconds, ReadSeconds());
    ASSIGN_OR_RETURN(const double seconds, MatmulSeconds());
    matmul_seconds = std::min(matmul_seconds, seconds);
  }
  return MachineLimits{kReadBytes * 1e-9 / read_seconds,
                       2.0 * kRows * kIn * kOut * 1e-9 / matmul_seconds};
}

double Machine::ReadSeconds() {
  const auto* words = static_cast<const uint64_t*>(memory_.data());
  std::vector<uint64_t> sums(workers_.count());
  const Stopwatch stopwatch;
  workers_.ForRanges(kReadBytes / 8, 1 << 20, [&](int64_t begin, int64_t end, int worker) {
    sums[worker] += Sum(words + begin, end - begin);
  });
  const double seconds = stopwatch.Seconds();
  for (const uint64_t sum : sums) checksum_ += sum;
  return seconds;
}

absl::StatusOr<double> Machine::MatmulSeconds() {
  LinearParams p;
  p.weight = weights_[next_weight_++ % weights_.size()].get();
  p.x = x_.View(dtype_, {kRows, kIn});
  p.y = y_.View(DType::kF32, {kRows, kOut});
  const Stopwatch stopwatch;
  backend_.Linear(p);
  RETURN_IF_ERROR(backend_.Synchronize());
  return stopwatch.Seconds();
}

}  // namespace deltaserve::bench
