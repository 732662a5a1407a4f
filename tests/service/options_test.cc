#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

absl::StatusOr<CommandLine> Parse(std::vector<std::string> args) { return ParseCommandLine(args); }

// With a model, which is needed.
absl::StatusOr<CommandLine> ParseWithModel(std::vector<std::string> args) {
  args.insert(args.begin(), {"--model", "m=dir"});
  return Parse(std::move(args));
}

std::string ErrorOf(const absl::StatusOr<CommandLine>& parsed) {
  EXPECT_FALSE(parsed.ok());
  return std::string(parsed.status().message());
}

std::string WriteConfig(const TempDir& dir, const std::string& text) {
  const std::string path = (dir / "server.textproto").string();
  std::ofstream(path) << text;
  return path;
}

TEST(OptionsTest, AccountsAreOffByDefault) {
  const Options options = ParseWithModel({})->options;
  EXPECT_EQ(options.keys, "");
  EXPECT_EQ(options.ledger, "");
  EXPECT_EQ(options.ledger_failure, "refuse");
  EXPECT_EQ(options.admin, "");
}

TEST(OptionsTest, KeysBeyondLoopbackWantToBeAllowed) {
  for (const char* listen : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(ParseWithModel({"--keys", "k", "--listen", listen}).ok()) << listen;
  }
  for (const char* listen : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1"}) {
    EXPECT_THAT(ErrorOf(ParseWithModel({"--keys", "k", "--listen", listen})),
                AllOf(StartsWith("--keys: "), HasSubstr(listen), HasSubstr("--insecure")));
    EXPECT_TRUE(ParseWithModel({"--keys", "k", "--insecure", "--listen", listen}).ok());
    EXPECT_TRUE(ParseWithModel({"--listen", listen}).ok());
  }
  EXPECT_FALSE(ParseWithModel({"--keys=k", "--admin=0.0.0.0:1"}).ok());
  EXPECT_FALSE(ParseWithModel({"--keys=k", "--admin=0.0.0.0:1", "--insecure=false"}).ok());
  EXPECT_TRUE(ParseWithModel({"--keys=k", "--admin=0.0.0.0:1", "--insecure=true"}).ok());
  EXPECT_FALSE(ParseWithModel({"--keys=k", "--insecure=perhaps"}).ok());
}

TEST(OptionsTest, WithTlsKeysMayComeFromAnywhere) {
  const auto options = ParseWithModel({"--keys=k", "--listen=0.0.0.0:1", "--admin=0.0.0.0:2",
                                       "--tls-cert=c", "--tls-key=p", "--tls-client-ca=a"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->options.tls_cert, "c");
  EXPECT_EQ(options->options.tls_key, "p");
  EXPECT_EQ(options->options.tls_client_ca, "a");
  // An authority of callers' certificates stands in for keys where there are none.
  EXPECT_FALSE(ParseWithModel({"--admin=0.0.0.0:1", "--tls-cert=c", "--tls-key=p"}).ok());
  EXPECT_TRUE(
      ParseWithModel({"--admin=0.0.0.0:1", "--tls-cert=c", "--tls-key=p", "--tls-client-ca=a"})
          .ok());

  EXPECT_THAT(ErrorOf(ParseWithModel({"--tls-cert=c"})), StartsWith("--tls-cert: needs --tls-key"));
  EXPECT_THAT(ErrorOf(ParseWithModel({"--tls-key=p"})), StartsWith("--tls-key: needs --tls-cert"));
  EXPECT_THAT(ErrorOf(ParseWithModel({"--tls-client-ca=a"})), StartsWith("--tls-client-ca: needs"));
}

TEST(OptionsTest, AnAdminAddressForAnybodyWantsToBeAllowed) {
  EXPECT_TRUE(ParseWithModel({"--admin", "127.0.0.1:1"}).ok());
  EXPECT_THAT(ErrorOf(ParseWithModel({"--admin", "0.0.0.0:1"})), StartsWith("--admin: without"));
  EXPECT_TRUE(ParseWithModel({"--admin", "0.0.0.0:1", "--insecure"}).ok());
  EXPECT_THAT(ErrorOf(ParseWithModel({"--admin", "nowhere"})), HasSubstr("is not HOST:PORT"));
  EXPECT_THAT(ErrorOf(ParseWithModel({"--ledger-failure", "ignore"})),
              HasSubstr("is none of refuse, continue"));
}

TEST(OptionsTest, ATenantsShareOfTheQueue) {
  EXPECT_EQ(ParseWithModel({})->options.max_queued_requests_per_tenant, 512);
  EXPECT_EQ(ParseWithModel({"--keys=k"})->options.max_queued_requests_per_tenant, 256);
  EXPECT_EQ(ParseWithModel({"--keys=k", "--max-queued-requests=1"})
                ->options.max_queued_requests_per_tenant,
            1);
  EXPECT_EQ(ParseWithModel({"--keys=k", "--max-queued-requests-per-tenant=7"})
                ->options.max_queued_requests_per_tenant,
            7);
  EXPECT_FALSE(ParseWithModel({"--max-queued-requests-per-tenant=0"}).ok());
}

TEST(OptionsTest, MetricsUnderOtherNames) {
  EXPECT_EQ(ParseWithModel({})->options.metrics_compat, "none");
  EXPECT_EQ(ParseWithModel({"--metrics-compat=vllm"})->options.metrics_compat, "vllm");
  EXPECT_THAT(ErrorOf(ParseWithModel({"--metrics-compat=tgi"})),
              HasSubstr("is none of none, vllm"));
}

TEST(OptionsTest, Defaults) {
  const auto parsed = ParseWithModel({});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Options& options = parsed->options;
  EXPECT_FALSE(parsed->help);
  ASSERT_THAT(options.models, SizeIs(1));
  EXPECT_EQ(options.models[0].name, "m");
  EXPECT_EQ(options.models[0].path, "dir");
  EXPECT_EQ(options.listen, "127.0.0.1:50051");
  EXPECT_EQ(options.metrics, "127.0.0.1:9464");
  EXPECT_EQ(options.device, "cpu");
  EXPECT_THAT(options.cuda_devices, IsEmpty());
  EXPECT_EQ(options.gpu_memory_utilization, 0.9);
  EXPECT_EQ(options.dtype, "auto");
  EXPECT_EQ(options.threads, 0);
  EXPECT_EQ(options.max_batch_tokens, 512);
  EXPECT_EQ(options.max_sequences, 64);
  EXPECT_EQ(options.kv_cache_tokens, 64 * 512);
  EXPECT_EQ(options.max_queued_requests, 512);
  EXPECT_EQ(options.max_request_bytes, 4 << 20);
  EXPECT_EQ(options.max_continuations, 256);
  EXPECT_EQ(options.max_trace_tokens, 4096);
  EXPECT_EQ(options.watchdog, absl::Seconds(10));
  EXPECT_EQ(options.drain, absl::Seconds(30));
  EXPECT_EQ(options.log_level, "info");
  EXPECT_EQ(options.nanodollars_per_device_hour, std::nullopt);
  EXPECT_EQ(options.nanodollars_per_kwh, std::nullopt);
  EXPECT_EQ(options.device_gbytes_per_second, 0);
  EXPECT_EQ(options.device_tflops, 0);
}

TEST(OptionsTest, DevicesAreNamedOneByOne) {
  const Options options = ParseWithModel({"--device", "cuda:0,cuda:3"})->options;
  EXPECT_EQ(options.device, "cuda:0,cuda:3");
  EXPECT_THAT(options.cuda_devices, ElementsAre(0, 3));
  for (const char* device : {"cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:0,", "cuda:0,1",
                             "cpu,cuda:0", "cuda:0,cpu", "gpu", ""}) {
    EXPECT_THAT(ErrorOf(ParseWithModel({"--device", device})), StartsWith("--device: ")) << device;
  }
  EXPECT_THAT(ErrorOf(ParseWithModel({"--device", "cuda:1,cuda:0,cuda:1"})),
              HasSubstr("cuda:1 is given twice"));
  EXPECT_EQ(ParseWithModel({"--device", "auto"})->options.device, "auto");
}

TEST(OptionsTest, AGpuHasDefaultsOfItsOwn) {
  const Options gpu = ParseWithModel({"--device", "cuda:1"})->options;
  EXPECT_EQ(gpu.max_batch_tokens, 2048);
  EXPECT_EQ(gpu.max_sequences, 256);
  EXPECT_EQ(gpu.kv_cache_tokens, 0);
  const Options said =
      ParseWithModel({"--device=cuda:1", "--max-sequences=8", "--kv-cache-tokens=100"})->options;
  EXPECT_EQ(said.max_sequences, 8);
  EXPECT_EQ(said.kv_cache_tokens, 100);
  // What --device=auto comes to: the last one counts.
  EXPECT_EQ(ParseWithModel({"--device=auto", "--device=cpu"})->options.device, "cpu");
}

TEST(OptionsTest, PricesAreExactDecimals) {
  const std::vector<std::pair<std::string, int64_t>> cases = {{"0", 0},
                                                              {"2.49", 2'490'000'000},
                                                              {"0.000000001", 1},
                                                              {"12", 12'000'000'000},
                                                              {"1000000", 1'000'000'000'000'000},
                                                              {"0.1", 100'000'000}};
  for (const auto& [text, nanodollars] : cases) {
    const auto parsed = ParseWithModel({"--usd-per-device-hour", text, "--usd-per-kwh", text});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->options.nanodollars_per_device_hour, nanodollars) << text;
    EXPECT_EQ(parsed->options.nanodollars_per_kwh, nanodollars) << text;
  }
}

TEST(OptionsTest, FlagsInEveryForm) {
  const auto parsed = Parse({"--model=a=x=y", "--model", "b=z", "--max-sequences=8",
                             "--max_batch_tokens", "100", "--metrics=", "--drain-seconds", "0.5",
                             "--dtype", "bf16", "--device=reference", "--threads", "1"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Options& options = parsed->options;
  ASSERT_THAT(options.models, SizeIs(2));
  EXPECT_EQ(options.models[0].path, "x=y");
  EXPECT_EQ(options.models[1].name, "b");
  EXPECT_EQ(options.max_sequences, 8);
  EXPECT_EQ(options.kv_cache_tokens, 8 * 512);
  EXPECT_EQ(options.max_batch_tokens, 100);
  EXPECT_EQ(options.metrics, "");
  EXPECT_EQ(options.drain, absl::Milliseconds(500));
  EXPECT_EQ(options.dtype, "bf16");
  EXPECT_EQ(options.device, "reference");
}

TEST(OptionsTest, FlagsWinOverTheFile) {
  const TempDir dir;
  const std::string path = WriteConfig(dir, R"(
      models { name: "file" path: "f" }
      listen: "0.0.0.0:1"
      max_sequences: 7
      threads: 3)");
  auto parsed = Parse({"--threads", "2", "--config", path});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->options.models[0].name, "file");
  EXPECT_EQ(parsed->options.listen, "0.0.0.0:1");
  EXPECT_EQ(parsed->options.max_sequences, 7);
  EXPECT_EQ(parsed->options.threads, 2);

  parsed = Parse({"--config", path, "--model", "flag=g"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_THAT(parsed->options.models, SizeIs(1));
  EXPECT_EQ(parsed->options.models[0].name, "flag");
}

TEST(OptionsTest, BadFilesNameFileAndLine) {
  const TempDir dir;
  const std::string unknown = WriteConfig(dir, "threads: 1\nthread_count: 2\n");
  EXPECT_THAT(ErrorOf(Parse({"--config", unknown})),
              AllOf(HasSubstr("server.textproto:2:"), HasSubstr("thread_count")));
  const std::string broken = WriteConfig(dir, "\n\nthreads: many");
  EXPECT_THAT(ErrorOf(Parse({"--config", broken})), HasSubstr("server.textproto:3:"));
  EXPECT_THAT(ErrorOf(Parse({"--config", (dir / "none").string()})),
              AllOf(StartsWith("--config: "), HasSubstr("none")));
}

TEST(OptionsTest, BadFlagsAreNamed) {
  const std::vector<std::vector<std::string>> cases = {
      {"threads", "-1"},
      {"threads", "x"},
      {"max-batch-tokens", "0"},
      {"max-batch-tokens", "63"},  // fewer than max-sequences
      {"max-sequences", "0"},
      {"kv-cache-tokens", "0"},
      {"max-queued-requests", "0"},
      {"max-request-bytes", "0"},
      {"max-request-bytes", "99999999999"},
      {"max-continuations", "0"},
      {"max-trace-tokens", "-1"},
      {"watchdog-seconds", "nan"},
      {"watchdog-seconds", "0"},
      {"drain-seconds", "-1"},
      {"device", "tpu"},
      {"gpu-memory-utilization", "0"},
      {"gpu-memory-utilization", "1.1"},
      {"dtype", "fp16"},
      {"log-level", "loud"},
      {"listen", "nowhere"},
      {"listen", "1.2.3.4:99999"},
      {"listen", ""},
      {"metrics", ":"},
      {"model", "nodir"},
      {"model", "=dir"},
      {"model", "a b=dir"},
      {"model", "m=again"},
      {"model", "x="},
      {"usd-per-device-hour", ""},
      {"usd-per-device-hour", "."},
      {"usd-per-device-hour", "1."},
      {"usd-per-device-hour", ".5"},
      {"usd-per-device-hour", "-1"},
      {"usd-per-device-hour", "1e3"},
      {"usd-per-device-hour", "0.0000000001"},  // ten places
      {"usd-per-device-hour", "1000000.1"},
      {"usd-per-kwh", "cheap"},
      {"device-gbytes-per-second", "-1"},
      {"device-tflops", "inf"},
      {"bogus", "1"}};
  for (const auto& flag : cases) {
    EXPECT_THAT(ErrorOf(ParseWithModel({std::string("--").append(flag[0]), flag[1]})),
                StartsWith(std::string("--").append(flag[0]).append(": ")));
  }
  EXPECT_THAT(ErrorOf(ParseWithModel({"--threads"})), HasSubstr("needs a value"));
  EXPECT_THAT(ErrorOf(ParseWithModel({"stray"})), HasSubstr("\"stray\""));
  EXPECT_THAT(ErrorOf(Parse({})), StartsWith("--model: "));
}

TEST(OptionsTest, Help) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"--threads", "2", "-h"})->help);
  for (const char* flag : {"--model", "--config", "--listen", "--max-batch-tokens", "--help"}) {
    EXPECT_THAT(HelpText(), HasSubstr(flag));
  }
}

}  // namespace
}  // namespace deltaserve
