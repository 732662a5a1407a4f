#include "server/device.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/engine/lane_loader.h"
#include "server/model/calibration.h"

namespace deltaserve {
namespace {

std::unique_ptr<NvmlDevice> OpenNvml(std::string_view device, spdlog::logger& log) {
  int index = 0;
  constexpr std::string_view kCuda = "cuda:";
  if (!device.starts_with(kCuda) ||
      !absl::SimpleAtoi(std::string(device.substr(kCuda.size())), &index)) {
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<NvmlDevice>> nvml = NvmlDevice::Open(index);
  if (!nvml.ok()) {
    log.warn("energy, utilization and memory of {} are not measured: {}", device,
             std::string(nvml.status().message()));
    return nullptr;
  }
  if (!(*nvml)->Read()) log.warn("{} does not measure its energy", device);
  return *std::move(nvml);
}

absl::Status OfModel(const std::string& name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("model ", name, ": ", status.message()));
}

}  // namespace

Device::Device(std::unique_ptr<Backend> backend, const Options& options, const Clock& clock,
               spdlog::logger& log)
    : clock_(clock),
      log_(log),
      told_{options.device_gbytes_per_second * 1e9, options.device_tflops * 1e12},
      backend_(std::move(backend)),
      nvml_(OpenNvml(name(), log)),
      meter_({.per_device_hour = options.nanodollars_per_device_hour,
              .per_kwh = options.nanodollars_per_kwh},
             nvml_ != nullptr ? static_cast<EnergyCounter&>(*nvml_) : no_energy_, clock.Now()) {}

absl::StatusOr<DevicePeaks> Device::PeaksIn(DType dtype) {
  const auto known = peaks_.find(dtype);
  if (known != peaks_.end()) return known->second;
  DevicePeaks peaks = told_;
  if (peaks.bytes_per_second == 0 || peaks.flops_per_second == 0) {
    const absl::StatusOr<DevicePeaks> measured = MeasurePeaks(*backend_, dtype, clock_);
    if (!measured.ok()) {
      return absl::Status(
          measured.status().code(),
          absl::StrCat("cannot measure the device, which --device-gbytes-per-second and "
                       "--device-tflops would spare: ",
                       measured.status().message()));
    }
    if (peaks.bytes_per_second == 0) peaks.bytes_per_second = measured->bytes_per_second;
    if (peaks.flops_per_second == 0) peaks.flops_per_second = measured->flops_per_second;
  }
  log_.info("device={} dtype={} gbytes_per_second={:.3g} tflops={:.3g}", name(), Name(dtype),
            peaks.bytes_per_second * 1e-9, peaks.flops_per_second * 1e-12);
  return peaks_[dtype] = peaks;
}

absl::StatusOr<std::vector<Device::Model>> Device::Load(const std::vector<LaneOptions>& models) {
  std::vector<Model> loaded;
  std::vector<std::unique_ptr<LaneLoader>> loaders;
  for (const LaneOptions& options : models) {
    const SteadyNs begin = clock_.Now();
    absl::StatusOr<std::unique_ptr<LaneLoader>> loader = LaneLoader::Load(*backend_, options);
    if (!loader.ok()) return OfModel(options.name, loader.status());
    Model& model = loaded.emplace_back();
    model.load_seconds = static_cast<double>(clock_.Now() - begin) * 1e-9;
    // Before the caches take what memory is left.
    const absl::StatusOr<DevicePeaks> peaks = PeaksIn((*loader)->dtype());
    if (!peaks.ok()) return peaks.status();
    model.cost = CostModel((*loader)->costs(), *peaks);
    meter_.AddModel(options.name, model.cost);
    loaders.push_back(*std::move(loader));
  }
  absl::StatusOr<std::vector<std::unique_ptr<ModelLane>>> lanes =
      FinishLanes(*backend_, std::move(loaders));
  if (!lanes.ok()) return lanes.status();
  for (size_t i = 0; i < loaded.size(); ++i) loaded[i].lane = std::move((*lanes)[i]);
  backend_->ReleaseThread();  // the engine's own thread goes on with it
  return loaded;
}

}  // namespace deltaserve
