// client/cpp as a program elsewhere gets it: installed, found by CMake and by pkg-config, and
// calling the real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/process/server_process.h"
#include "tests/support/process/subprocess.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using ::testing::HasSubstr;

constexpr char kExample[] = DELTASERVE_SOURCE_DIR "/client/cpp/example";

// Standard output of a command that must succeed.
std::string OutputOf(const std::vector<std::string>& command) {
  const auto process = Subprocess::Start(command).value();
  const absl::StatusOr<int> exit = process->Wait(absl::Seconds(300));
  EXPECT_EQ(exit.value_or(-1), 0) << process->out() << process->err();
  return process->out();
}

class ClientPackageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    OutputOf(
        {CMAKE, "--install", BUILD_DIR, "--component", "client_cpp", "--prefix", Path("prefix")});
  }

  std::string Path(const std::string& name) const { return (dir_ / name).string(); }

  void ExpectThatItTells(const std::string& program) {
    absl::StatusOr<ServerProcess> server =
        ServerProcess::Start({"--model", "demo=" DELTASERVE_SOURCE_DIR "/models/demo/ddl_cc_ec"});
    ASSERT_TRUE(server.ok()) << server.status();
    const std::string told = OutputOf(
        {program, server->address(), "The kite belongs to Clara. Who has the kite now? Answer:"});
    EXPECT_THAT(told, HasSubstr("Clara"));
    EXPECT_THAT(told, HasSubstr(" generated tokens, "));
  }

 private:
  TempDir dir_;
};

TEST_F(ClientPackageTest, IsFoundByCMake) {
  OutputOf({CMAKE, "-G", "Ninja", "-S", kExample, "-B", Path("build"), "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_CXX_COMPILER=" CXX, absl::StrCat("-DCMAKE_PREFIX_PATH=", Path("prefix"))});
  OutputOf({CMAKE, "--build", Path("build")});

  ExpectThatItTells(Path("build/tell"));
}

TEST_F(ClientPackageTest, IsFoundByPkgConfig) {
  OutputOf(
      {"/bin/sh", "-c",
       absl::StrCat("set -e; PKG_CONFIG_PATH=$(dirname $(find ", Path("prefix"),
                    " -name deltaserve_client.pc)); export PKG_CONFIG_PATH; " CXX " -std=c++20 -o ",
                    Path("tell"), " ", kExample,
                    "/tell.cc $(pkg-config --cflags --libs deltaserve_client)")});

  ExpectThatItTells(Path("tell"));
}

}  // namespace
}  // namespace deltaserve
