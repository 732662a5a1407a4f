#include "server/telemetry/nvml_energy.h"

#include <dlfcn.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

// What is used of nvml.h. Every function returns 0 for success.
using NvmlDevice = struct NvmlDeviceHandle*;
using InitFunction = int (*)();
using ShutdownFunction = int (*)();
using GetHandleFunction = int (*)(unsigned int index, NvmlDevice* device);
using GetEnergyFunction = int (*)(NvmlDevice device, unsigned long long* millijoules);

struct CloseLibrary {
  void operator()(void* library) const { dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

template <typename Function>
absl::Status Find(const Library& library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library.get(), name));
  if (function != nullptr) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("NVML has no ", name));
}

// NVML between its start and its end.
class Session {
 public:
  Session(Library library, ShutdownFunction shutdown)
      : library_(std::move(library)), shutdown_(shutdown) {}
  ~Session() { shutdown_(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  const Library library_;
  const ShutdownFunction shutdown_;
};

class NvmlEnergyCounter final : public EnergyCounter {
 public:
  NvmlEnergyCounter(std::unique_ptr<Session> session, NvmlDevice device,
                    GetEnergyFunction get_energy)
      : session_(std::move(session)), device_(device), get_energy_(get_energy) {}

  std::optional<int64_t> Read() override {
    unsigned long long millijoules = 0;
    if (get_energy_(device_, &millijoules) != 0) return std::nullopt;
    return static_cast<int64_t>(millijoules) * 1000;
  }

 private:
  const std::unique_ptr<Session> session_;
  const NvmlDevice device_;
  const GetEnergyFunction get_energy_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EnergyCounter>> OpenNvmlEnergyCounter(int index,
                                                                     const std::string& path) {
  Library library(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (library == nullptr) return absl::NotFoundError(absl::StrCat("NVML: ", dlerror()));
  InitFunction init;
  ShutdownFunction shutdown;
  GetHandleFunction get_handle;
  GetEnergyFunction get_energy;
  absl::Status found = Find(library, "nvmlInit_v2", init);
  found.Update(Find(library, "nvmlShutdown", shutdown));
  found.Update(Find(library, "nvmlDeviceGetHandleByIndex_v2", get_handle));
  found.Update(Find(library, "nvmlDeviceGetTotalEnergyConsumption", get_energy));
  if (!found.ok()) return found;

  if (const int error = init(); error != 0) {
    return absl::UnavailableError(absl::StrCat("NVML does not start: error ", error));
  }
  auto session = std::make_unique<Session>(std::move(library), shutdown);
  NvmlDevice device = nullptr;
  if (const int error = get_handle(static_cast<unsigned int>(index), &device); error != 0) {
    return absl::UnavailableError(absl::StrCat("NVML has no device ", index, ": error ", error));
  }
  auto counter = std::make_unique<NvmlEnergyCounter>(std::move(session), device, get_energy);
  if (!counter->Read()) {
    return absl::UnavailableError(absl::StrCat("device ", index, " does not measure its energy"));
  }
  return counter;
}

}  // namespace deltaserve
