// Stands in for NVIDIA's management library: two devices, the second too old to measure energy.
#include <cstdlib>

extern "C" {

int nvmlInit_v2() { return std::getenv("FAKE_NVML_BROKEN") == nullptr ? 0 : 999; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void** device) {
  static int devices[2];
  if (index >= 2) return 2;
  *device = &devices[index];
  devices[index] = static_cast<int>(index);
  return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  static unsigned long long used = 41;
  if (*static_cast<int*>(device) != 0) return 3;
  *millijoules = ++used;
  return 0;
}
}
