#include "proto/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "deltaserve/v1/keys.pb.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

TEST(ReadTextTest, AFilesBytes) {
  const TempDir dir;
  const std::string path = dir / "file";
  for (const size_t size : {0, 1, 4096, 10'000}) {
    const std::string text(size, 'x');
    std::ofstream(path) << text;
    EXPECT_EQ(ReadText(path).value(), text);
  }
}

TEST(ReadTextTest, WhatCannotBeRead) {
  const TempDir dir;
  const std::string path = dir / "folder";
  EXPECT_TRUE(absl::IsNotFound(ReadText(path).status()));
  std::filesystem::create_directory(path);
  EXPECT_EQ(ReadText(path).status(), absl::NotFoundError("cannot read " + path));
}

TEST(ParseTextTest, SaysWhereItIsWrong) {
  v1::KeysFile file;
  ASSERT_TRUE(ParseText("p", "tenants { name: 'a' }", &file).ok());
  EXPECT_EQ(file.tenants(0).name(), "a");
  const absl::Status wrong = ParseText("a/path", "tenants {\n  names: 'a'\n}", &file);
  EXPECT_TRUE(absl::IsInvalidArgument(wrong));
  EXPECT_THAT(std::string(wrong.message()), testing::StartsWith("a/path:2:"));
}

}  // namespace
}  // namespace deltaserve
