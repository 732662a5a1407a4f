#include "server/telemetry/nvml_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "server/telemetry/device_metrics.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

TEST(NvmlDeviceTest, TellsEnergyUtilizationAndMemory) {
  const auto device = NvmlDevice::Open(0, FAKE_NVML_LIBRARY);
  ASSERT_TRUE(device.ok()) << device.status();
  const int64_t first = (*device)->Read().value();
  EXPECT_EQ(first % 1000, 0);  // microjoules, of a counter of millijoules
  EXPECT_EQ((*device)->Read().value(), first + 1000);
  EXPECT_EQ((*device)->Utilization(), 0.87);
  const auto memory = (*device)->ReadMemory();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->used, int64_t{5} << 30);
  EXPECT_EQ(memory->free, int64_t{75} << 30);
}

TEST(NvmlDeviceTest, ItsMetrics) {
  const auto device = NvmlDevice::Open(0, FAKE_NVML_LIBRARY);
  const auto families = DeviceMetrics({{"cuda:0", device->get()}}).Collect();
  ASSERT_EQ(families.size(), 2u);
  EXPECT_EQ(families[0].name, "deltaserve_device_utilization_ratio");
  EXPECT_EQ(families[0].type, prometheus::MetricType::Gauge);
  EXPECT_EQ(families[0].metric.at(0).gauge.value, 0.87);
  EXPECT_EQ(families[1].name, "deltaserve_device_memory_bytes");
  EXPECT_EQ(families[1].type, prometheus::MetricType::Gauge);
  ASSERT_EQ(families[1].metric.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(families[1].metric[i].label.size(), 1u);
    EXPECT_EQ(families[1].metric[i].label[0].name, "kind");
    EXPECT_EQ(families[1].metric[i].label[0].value, i == 0 ? "used" : "free");
    EXPECT_EQ(families[1].metric[i].gauge.value,
              static_cast<double>((i == 0 ? 5ull : 75ull) << 30));
  }
}

TEST(NvmlDeviceTest, WhatADeviceDoesNotMeasureIsAbsent) {
  const auto device = NvmlDevice::Open(1, FAKE_NVML_LIBRARY);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->Read(), std::nullopt);
  EXPECT_EQ((*device)->Utilization(), std::nullopt);
  EXPECT_FALSE((*device)->ReadMemory().has_value());
  EXPECT_TRUE(DeviceMetrics({{"cuda:0", device->get()}}).Collect().empty());
}

TEST(NvmlDeviceTest, WithoutTheLibrary) {
  const auto device = NvmlDevice::Open(0, "libno-such-thing.so.1");
  EXPECT_EQ(device.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("libno-such-thing"));
}

TEST(NvmlDeviceTest, ADeviceThatIsNotThere) {
  EXPECT_THAT(std::string(NvmlDevice::Open(2, FAKE_NVML_LIBRARY).status().message()),
              HasSubstr("no device 2"));
}

TEST(NvmlDeviceTest, ALibraryThatDoesNotWork) {
  setenv("FAKE_NVML_BROKEN", "1", 1);
  const auto device = NvmlDevice::Open(0, FAKE_NVML_LIBRARY);
  unsetenv("FAKE_NVML_BROKEN");
  EXPECT_EQ(device.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("999"));
  // Another library, which has none of its functions.
  EXPECT_THAT(std::string(NvmlDevice::Open(0, "libm.so.6").status().message()),
              HasSubstr("nvmlInit_v2"));
}

}  // namespace
}  // namespace deltaserve
