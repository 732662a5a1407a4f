#include "proto/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace deltaserve {
namespace {

using ::testing::HasSubstr;

std::string Sample() {
  const absl::StatusOr<std::string> page = ReferencePage(SAMPLE, {"reference_sample.proto"});
  return page.ok() ? *page : std::string(page.status().message());
}

TEST(ReferenceTest, ThePageInTheDocsIsThatOfTheProtos) {
  const std::filesystem::path root = DELTASERVE_SOURCE_DIR;
  std::stringstream kept;
  kept << std::ifstream(root / "docs/reference.md").rdbuf();
  const absl::StatusOr<std::string> page = ReferencePage(DESCRIPTORS, ReferenceFiles());
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(kept.str(), *page) << "cmake --build build/release --target reference makes it anew";
}

TEST(ReferenceTest, NoProtoIsLeftOut) {
  const std::filesystem::path proto = std::filesystem::path(DELTASERVE_SOURCE_DIR) / "proto";
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(proto / "deltaserve/v1")) {
    files.push_back(entry.path().lexically_relative(proto).string());
  }
  EXPECT_THAT(ReferenceFiles(), ::testing::UnorderedElementsAreArray(files));
}

TEST(ReferenceTest, FieldsHaveTheirTypesAndComments) {
  const std::string page = Sample();
  EXPECT_THAT(page, HasSubstr("### M\n\nOf the message, on two lines.\n"));
  EXPECT_THAT(page, HasSubstr("|  |  | *One of `prompt`* |\n| `text` | string | |\n"));
  EXPECT_THAT(page, HasSubstr("| `inner` | [N.Inner](#ninner) | a\\|b |\n"));
  EXPECT_THAT(page, HasSubstr("|  |  | *Limits.* |\n| `most` | optional int32 | at most |\n"));
  EXPECT_THAT(page, HasSubstr("| `kinds` | repeated [E](#e) | Alone. |\n"));
  EXPECT_THAT(page, HasSubstr("| `bias` | map of int32 to float | |\n"));
  EXPECT_THAT(page, HasSubstr("### N.Inner\n\nNo fields.\n"));
  EXPECT_THAT(page,
              HasSubstr("### E\n\n| value | number | |\n|---|---|---|\n| `A` | 0 | none |\n"));
}

TEST(ReferenceTest, ServicesHaveTheirCalls) {
  EXPECT_THAT(Sample(),
              HasSubstr("## reference_sample.proto\n\nOf the file.\n\n### S\n\nOf the service.\n\n"
                        "| call | takes and gives | |\n|---|---|---|\n"
                        "| `Ask` | [M](#m) → stream of [M](#m) | Asks. |\n"));
}

TEST(ReferenceTest, WhatIsMissingIsNamed) {
  EXPECT_THAT(ReferencePage(SAMPLE, {"other.proto"}).status().message(),
              HasSubstr("has no other.proto"));
  EXPECT_THAT(ReferencePage("/no/such/file", {}).status().message(), HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace deltaserve
