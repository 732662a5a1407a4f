#ifndef DELTASERVE_SERVER_DEVICES_H_
#define DELTASERVE_SERVER_DEVICES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/options.h"

namespace deltaserve {

// What --device=auto stands for on this machine.
struct DeviceChoice {
  std::string device;  // "cuda:0" or "cpu"
  std::string reason;
};
DeviceChoice ChooseDevice();

// The devices that options.device names, "auto" excepted, in that order. What CUDA needs is opened
// only where a CUDA device is named. The status says which device cannot be had, and why.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> OpenDevices(const Options& options);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_DEVICES_H_
