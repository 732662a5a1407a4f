// Stands in for NVIDIA's management library: two devices, the second too old to measure anything.
#include <cstdlib>

extern "C" {

struct Utilization {
  unsigned int gpu, memory;
};
struct Memory {
  unsigned long long total, free, used;
};

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

int nvmlDeviceGetUtilizationRates(void* device, Utilization* rates) {
  if (*static_cast<int*>(device) != 0) return 3;
  *rates = {.gpu = 87, .memory = 12};
  return 0;
}

int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  if (*static_cast<int*>(device) != 0) return 3;
  *memory = {.total = 80ull << 30, .free = 75ull << 30, .used = 5ull << 30};
  return 0;
}
}
