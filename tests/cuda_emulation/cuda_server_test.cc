// The real server on CUDA devices: it opens the library that lies beside it, here the CUDA backend
// on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cpp/client.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kModel[] = DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec";
constexpr char kLibraryName[] = "libdeltaserve_cuda.so";

// A copy of the server, alone in a folder.
class CudaServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy_file(DELTASERVE_BINARY, server_);
    setenv("DELTASERVE_BINARY", server_.c_str(), 1);
    setenv("DELTASERVE_EMULATED_DEVICES", "2", 1);
  }
  void AddLibrary() {
    std::filesystem::copy_file(DELTASERVE_EMULATED_CUDA_LIBRARY, dir_ / kLibraryName);
  }
  // Peaks are told: measuring them takes the emulation long.
  static std::vector<std::string> Flags(const std::string& device) {
    return {"--model",
            "tiny=" + std::string(kModel),
            "--device",
            device,
            "--dtype",
            "fp32",
            "--device-gbytes-per-second",
            "1",
            "--device-tflops",
            "1",
            "--max-sequences",
            "4",
            "--max-batch-tokens",
            "64",
            "--gpu-memory-utilization",
            "0.3"};
  }
  // The exit code of a server that does not come up, and what it says.
  static std::pair<int, std::string> Fail(const std::string& device) {
    std::vector<std::string> command = {std::getenv("DELTASERVE_BINARY")};
    for (const std::string& flag : Flags(device)) command.push_back(flag);
    const auto process = Subprocess::Start(command);
    EXPECT_TRUE(process.ok()) << process.status();
    const auto exit_code = (*process)->Wait(absl::Seconds(60));
    return {exit_code.value_or(-1), (*process)->err()};
  }

  const TempDir dir_;
  const std::filesystem::path server_ = dir_ / "deltaserve";
};

constexpr int kNoDevice = 3;

TEST_F(CudaServerTest, WithoutTheLibraryItSaysSo) {
  const auto [exit_code, error] = Fail("cuda:0");
  EXPECT_EQ(exit_code, kNoDevice);
  EXPECT_THAT(error, AllOf(HasSubstr("deltaserve: cuda:0: this build has no CUDA: there is no "),
                           HasSubstr(dir_.path().string())));
}

TEST_F(CudaServerTest, ALibraryThatCannotBeOpenedIsNamed) {
  std::ofstream(dir_ / kLibraryName) << "no library";
  const auto [exit_code, error] = Fail("cuda:0");
  EXPECT_EQ(exit_code, kNoDevice);
  EXPECT_THAT(error, AllOf(HasSubstr("CUDA cannot be used: "), HasSubstr(kLibraryName)));
}

TEST_F(CudaServerTest, ADeviceThatIsNotThereIsNamed) {
  AddLibrary();
  const auto [exit_code, error] = Fail("cuda:0,cuda:7");
  EXPECT_EQ(exit_code, kNoDevice);
  EXPECT_THAT(error, HasSubstr("deltaserve: cuda:7: there is no such device among 2"));
}

TEST_F(CudaServerTest, AutoIsTheCpuWhereThereIsNoCuda) {
  auto server = ServerProcess::Start(Flags("auto"));
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(server->process().err(),
              HasSubstr("--device auto: cpu, since this build has no CUDA"));
  EXPECT_EQ(server->Stop().value(), 0);
}

TEST_F(CudaServerTest, AutoIsTheFirstCudaDevice) {
  AddLibrary();
  auto server = ServerProcess::Start(Flags("auto"));
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(server->process().err(),
              AllOf(HasSubstr("--device auto: cuda:0"), HasSubstr("device=cuda:0 dtype=fp32")));
  EXPECT_EQ(server->Stop().value(), 0);
}

// The tokens of the DDL authors' code, on two devices that share the requests.
TEST_F(CudaServerTest, TwoDevicesServeTheGoldenContinuations) {
  AddLibrary();
  auto server = ServerProcess::Start(Flags("cuda:0,cuda:1"));
  ASSERT_TRUE(server.ok()) << server.status();
  const auto fixture = LoadGoldenFixture(kModel);
  ASSERT_TRUE(fixture.ok()) << fixture.status();
  const Client client = Client::Connect(server->address());

  constexpr size_t kCalls = 4;
  std::vector<std::vector<int32_t>> expected(kCalls), generated(kCalls);
  std::vector<std::thread> calls;
  for (size_t i = 0; i < kCalls; ++i) {
    const GoldenPrompt& prompt = fixture->prompts[i % fixture->prompts.size()];
    expected[i] = prompt.greedy;
    v1::GenerateRequest request;
    for (const int32_t id : prompt.tokens) request.mutable_token_ids()->add_ids(id);
    request.set_max_tokens(static_cast<int32_t>(prompt.greedy.size()));
    request.set_temperature(0);
    request.set_ignore_eos(true);
    calls.emplace_back([&client, &ids = generated[i], request] {
      const auto response = client.Generate(request);
      if (!response.ok()) return;
      const auto& sampled = response->samples(0).token_ids();
      ids.assign(sampled.begin(), sampled.end());
    });
  }
  for (std::thread& call : calls) call.join();
  EXPECT_EQ(generated, expected);

  const MetricsSnapshot metrics = server->ScrapeMetrics().value();
  for (const char* device : {"device=\"cuda:0\"", "device=\"cuda:1\""}) {
    EXPECT_GT(metrics.Sum("deltaserve_device_seconds_total", {device, "state=\"busy\""}), 0);
    EXPECT_GT(metrics.Sum("deltaserve_model_info", {device}), 0);
  }
  EXPECT_EQ(metrics.Sum("deltaserve_generated_tokens_total"),
            static_cast<double>(kCalls * expected[0].size()));
  EXPECT_EQ(server->Stop().value(), 0);
}

// An error of the device in the middle of a request.
TEST_F(CudaServerTest, ACudaErrorIsTerminalAndClean) {
  AddLibrary();
  setenv("DELTASERVE_EMULATED_FAULTY_GRAPH", "3", 1);
  auto server = ServerProcess::Start(Flags("cuda:0"));
  unsetenv("DELTASERVE_EMULATED_FAULTY_GRAPH");
  ASSERT_TRUE(server.ok()) << server.status();
  // Another attempt would count as another request.
  ClientOptions options;
  options.retry = false;
  const Client client = Client::Connect(server->address(), options);
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(1);
  request.set_max_tokens(50);
  request.set_ignore_eos(true);
  for (int call = 0; call < 2; ++call) {
    const absl::Status status = client.Generate(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("the device is lost: cuda:0"),
                                                     HasSubstr("cudaErrorIllegalAddress")));
  }
  MetricsSnapshot metrics = server->ScrapeMetrics().value();
  EXPECT_EQ(metrics.Sum("deltaserve_engine_healthy"), 0);
  EXPECT_EQ(metrics.Sum("deltaserve_requests_total", {"outcome=\"unavailable\""}), 2);
  // The engine tells of its cache once it has told all callers of their end.
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  while (metrics.Sum("deltaserve_kv_pages", {"state=\"used\""}) != 0) {
    ASSERT_LT(absl::Now(), limit) << "pages stay in use";
    absl::SleepFor(absl::Milliseconds(20));
    metrics = server->ScrapeMetrics().value();
  }
  EXPECT_GT(metrics.Sum("deltaserve_kv_pages", {"state=\"free\""}), 0);
  EXPECT_EQ(metrics.Sum("deltaserve_requests_running"), 0);
  EXPECT_EQ(metrics.Sum("deltaserve_requests_waiting"), 0);
  EXPECT_EQ(server->Stop().value(), 0);
}

}  // namespace
}  // namespace deltaserve
