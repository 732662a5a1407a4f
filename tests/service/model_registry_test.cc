#include "server/service/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace deltaserve {
namespace {

using testing::HasSubstr;

ServedModel Named(const std::string& name) {
  ServedModel model;
  model.info.name = name;
  return model;
}

TEST(ModelRegistryTest, TheOnlyModelNeedsNoName) {
  const ModelRegistry registry({Named("a")});
  EXPECT_EQ((*registry.Find(""))->info.name, "a");
  EXPECT_EQ((*registry.Find("a"))->info.name, "a");
}

TEST(ModelRegistryTest, OneOfSeveralMustBeNamed) {
  const ModelRegistry registry({Named("a"), Named("b")});
  EXPECT_EQ((*registry.Find("b"))->info.name, "b");
  const absl::Status status = registry.Find("").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a, b"));
}

TEST(ModelRegistryTest, UnknownModelsAreNotFoundAndTheOthersListed) {
  const ModelRegistry registry({Named("a"), Named("b")});
  const absl::Status status = registry.Find("c").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"c\""));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a, b"));
}

}  // namespace
}  // namespace deltaserve
