#include "client/cli/key_source.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace deltaserve::cli {
namespace {

TEST(KeySourceTest, TheFileWinsOverTheEnvironment) {
  TempDir dir;
  const std::string path = dir / "key";
  std::ofstream(path) << "id.secret\n";
  EXPECT_EQ(*ReadKey(path, "other.key"), "id.secret");
  EXPECT_EQ(*ReadKey(std::nullopt, "other.key"), "other.key");
  EXPECT_EQ(*ReadKey(std::nullopt, nullptr), "");
}

TEST(KeySourceTest, AFileWithoutAKeyIsAnError) {
  TempDir dir;
  EXPECT_TRUE(absl::IsInvalidArgument(ReadKey(dir / "none", nullptr).status()));
  std::ofstream(dir / "empty") << "\n";
  EXPECT_TRUE(absl::IsInvalidArgument(ReadKey(dir / "empty", "other.key").status()));
}

}  // namespace
}  // namespace deltaserve::cli
