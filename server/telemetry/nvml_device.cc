#include "server/telemetry/nvml_device.h"

#include <dlfcn.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {

// NVML between its start and its end, and the device. What is used of nvml.h is declared here; its
// functions return 0 for success.
class NvmlDevice::Library {
 public:
  struct UtilizationRates {
    unsigned int gpu = 0;  // percent
    unsigned int memory = 0;
  };
  struct MemoryInfo {
    unsigned long long total = 0;  // bytes
    unsigned long long free = 0;
    unsigned long long used = 0;
  };

  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (started_) shutdown_();
    if (library_ != nullptr) dlclose(library_);
  }

  absl::Status Open(const std::string& path, int index) {
    library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) return absl::NotFoundError(absl::StrCat("NVML: ", dlerror()));
    int (*init)() = nullptr;
    int (*get_handle)(unsigned int, Device*) = nullptr;
    absl::Status found = Find("nvmlInit_v2", init);
    found.Update(Find("nvmlShutdown", shutdown_));
    found.Update(Find("nvmlDeviceGetHandleByIndex_v2", get_handle));
    found.Update(Find("nvmlDeviceGetTotalEnergyConsumption", get_energy_));
    found.Update(Find("nvmlDeviceGetUtilizationRates", get_utilization_));
    found.Update(Find("nvmlDeviceGetMemoryInfo", get_memory_));
    if (!found.ok()) return found;

    if (const int error = init(); error != 0) {
      return absl::UnavailableError(absl::StrCat("NVML does not start: error ", error));
    }
    started_ = true;
    if (const int error = get_handle(static_cast<unsigned int>(index), &device_); error != 0) {
      return absl::UnavailableError(absl::StrCat("NVML has no device ", index, ": error ", error));
    }
    return absl::OkStatus();
  }

  std::optional<unsigned long long> Millijoules() const { return Get(get_energy_); }
  std::optional<UtilizationRates> Rates() const { return Get(get_utilization_); }
  std::optional<MemoryInfo> Memory() const { return Get(get_memory_); }

 private:
  using Device = struct NvmlDeviceHandle*;
  template <typename Value>
  using Getter = int (*)(Device, Value*);

  template <typename Function>
  absl::Status Find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
    if (function != nullptr) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("NVML has no ", name));
  }

  template <typename Value>
  std::optional<Value> Get(Getter<Value> getter) const {
    Value value{};
    if (getter(device_, &value) != 0) return std::nullopt;
    return value;
  }

  void* library_ = nullptr;
  bool started_ = false;
  Device device_ = nullptr;
  int (*shutdown_)() = nullptr;
  Getter<unsigned long long> get_energy_ = nullptr;
  Getter<UtilizationRates> get_utilization_ = nullptr;
  Getter<MemoryInfo> get_memory_ = nullptr;
};

absl::StatusOr<std::unique_ptr<NvmlDevice>> NvmlDevice::Open(int index, const std::string& path) {
  auto library = std::make_unique<Library>();
  if (absl::Status status = library->Open(path, index); !status.ok()) return status;
  // Not make_unique: the constructor is private.
  return std::unique_ptr<NvmlDevice>(new NvmlDevice(std::move(library)));
}

NvmlDevice::NvmlDevice(std::unique_ptr<const Library> library) : library_(std::move(library)) {}

NvmlDevice::~NvmlDevice() = default;

std::optional<int64_t> NvmlDevice::Read() {
  const auto millijoules = library_->Millijoules();
  if (!millijoules) return std::nullopt;
  return static_cast<int64_t>(*millijoules) * 1000;
}

std::optional<double> NvmlDevice::Utilization() const {
  const auto rates = library_->Rates();
  if (!rates) return std::nullopt;
  return rates->gpu / 100.0;
}

std::optional<DeviceMonitor::Memory> NvmlDevice::ReadMemory() const {
  const auto memory = library_->Memory();
  if (!memory) return std::nullopt;
  return Memory{.used = static_cast<int64_t>(memory->used),
                .free = static_cast<int64_t>(memory->free)};
}

}  // namespace deltaserve
