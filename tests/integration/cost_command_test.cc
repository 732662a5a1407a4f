// `deltactl cost` against the real server: the demo model beside its additive twin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "auth/keys_file.h"
#include "tests/support/process/server_process.h"

namespace deltaserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(120);

Ended Deltactl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), DELTACTL_BINARY);
  return RunToEnd(std::move(arguments), kPatience).value();
}

std::vector<std::string> Cost(const ServerProcess& server, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"cost",
                                        "--address",
                                        server.address(),
                                        "--batch",
                                        "1,4",
                                        "--prompt-tokens",
                                        "12",
                                        "--completion-tokens",
                                        "6",
                                        "--rounds",
                                        "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

absl::StatusOr<ServerProcess> Serve(std::vector<std::string> more) {
  const char* told = std::getenv("DELTASERVE_LOAD_DEVICE");
  const std::string device = told == nullptr ? "cpu" : told;
  const std::string demo = DELTASERVE_SOURCE_DIR "/models/demo/";
  std::vector<std::string> flags = {"--model",  absl::StrCat("demo=", demo, "ddl_cc_ec"),
                                    "--model",  absl::StrCat("plain=", demo, "additive"),
                                    "--device", device};
  if (device == "reference") flags.insert(flags.end(), {"--dtype", "fp32"});  // all that it has
  flags.insert(flags.end(), more.begin(), more.end());
  return ServerProcess::Start(flags);
}

TEST(CostCommandTest, ATableAndAPlotOfAModelAndItsTwinWithAKeyAndAPrice) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "cost_command";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  const std::string keys = folder / "keys.textproto";
  const std::string key_file = folder / "key";
  const std::string plot = folder / "costs.png";
  v1::KeysFile::Tenant tenant;
  tenant.set_name("acme");
  const absl::StatusOr<ApiKey> key = AddKey(keys, tenant, /*admin=*/false);
  ASSERT_TRUE(key.ok()) << key.status();
  std::ofstream(key_file) << key->Text();
  std::filesystem::permissions(key_file, std::filesystem::perms::owner_read);
  absl::StatusOr<ServerProcess> server = Serve({"--usd-per-device-hour", "2.5", "--keys", keys});
  ASSERT_TRUE(server.ok()) << server.status();

  const Ended ended = Deltactl(Cost(*server, {"--key-file", key_file, "--png", plot}));
  EXPECT_EQ(ended.exit, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(StartsWith("USD per million tokens, at 2.5 USD per device hour\n"),
                               HasSubstr("12 prompt tokens, 6 completion tokens"),
                               HasSubstr("demo   ddl_cc_ec"), HasSubstr("/ plain"),
                               HasSubstr("plain  additive")));
  std::ifstream file(plot, std::ios::binary);
  std::string png((std::istreambuf_iterator<char>(file)), {});
  EXPECT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
  EXPECT_THAT(png, HasSubstr("IEND"));

  const Ended refused = Deltactl(Cost(*server, {}));
  EXPECT_EQ(refused.exit, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, StartsWith("deltactl: UNAUTHENTICATED: "));
  std::filesystem::remove_all(folder);
}

TEST(CostCommandTest, WithoutAPriceInDeviceSeconds) {
  absl::StatusOr<ServerProcess> server = Serve({});
  ASSERT_TRUE(server.ok()) << server.status();
  const Ended ended = Deltactl(Cost(*server, {"--json"}));
  ASSERT_EQ(ended.exit, 0) << ended.err;
  const nlohmann::json report = nlohmann::json::parse(ended.out);
  EXPECT_EQ(report["unit"], "device_seconds");
  EXPECT_TRUE(report["usd_per_device_hour"].is_null());
  ASSERT_EQ(report["models"].size(), 2u);
  const nlohmann::json& ddl = report["models"][0];
  const nlohmann::json& additive = report["models"][1];
  EXPECT_EQ(ddl["additive"], "plain");
  EXPECT_TRUE(additive["additive"].is_null());
  for (size_t i = 0; i < 2; ++i) {
    for (const char* kind : {"prompt", "completion"}) {
      const nlohmann::json& cost = ddl["batches"][i][kind];
      const nlohmann::json& twin = additive["batches"][i][kind];
      EXPECT_GT(twin["device_seconds_per_million"], 0);
      // Of one round the ratio is that of its values.
      EXPECT_NEAR(cost["of_additive"].get<double>(),
                  cost["device_seconds_per_million"].get<double>() /
                      twin["device_seconds_per_million"].get<double>(),
                  1e-9);
      EXPECT_TRUE(cost["usd_per_million"].is_null());
      EXPECT_TRUE(twin["of_additive"].is_null());
    }
  }
  const Ended table = Deltactl(Cost(*server, {}));
  EXPECT_THAT(table.out, StartsWith("Device seconds per million tokens (the server has no price: "
                                    "--usd-per-device-hour)\n"));
}

}  // namespace
}  // namespace deltaserve
