#include "server/telemetry/nvml_energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace deltaserve {
namespace {

using testing::HasSubstr;

TEST(NvmlEnergyTest, ReadsInMicrojoules) {
  const auto counter = OpenNvmlEnergyCounter(0, FAKE_NVML_LIBRARY);
  ASSERT_TRUE(counter.ok()) << counter.status();
  const int64_t first = (*counter)->Read().value();
  EXPECT_EQ(first % 1000, 0);
  EXPECT_EQ((*counter)->Read().value(), first + 1000);
}

TEST(NvmlEnergyTest, WithoutTheLibrary) {
  const auto counter = OpenNvmlEnergyCounter(0, "libno-such-thing.so.1");
  EXPECT_EQ(counter.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(counter.status().message()), HasSubstr("libno-such-thing"));
}

TEST(NvmlEnergyTest, DevicesThatAreNotThereOrDoNotMeasure) {
  EXPECT_THAT(std::string(OpenNvmlEnergyCounter(2, FAKE_NVML_LIBRARY).status().message()),
              HasSubstr("no device 2"));
  EXPECT_THAT(std::string(OpenNvmlEnergyCounter(1, FAKE_NVML_LIBRARY).status().message()),
              HasSubstr("does not measure"));
}

TEST(NvmlEnergyTest, ALibraryThatDoesNotWork) {
  setenv("FAKE_NVML_BROKEN", "1", 1);
  const auto counter = OpenNvmlEnergyCounter(0, FAKE_NVML_LIBRARY);
  unsetenv("FAKE_NVML_BROKEN");
  EXPECT_EQ(counter.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(counter.status().message()), HasSubstr("999"));
  // Another library, which has none of its functions.
  EXPECT_THAT(std::string(OpenNvmlEnergyCounter(0, "libm.so.6").status().message()),
              HasSubstr("nvmlInit_v2"));
}

}  // namespace
}  // namespace deltaserve
