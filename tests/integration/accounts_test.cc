// The real server with keys and a ledger: keys come and go without a restart, and a ledger that
// cannot be written is told, survived, and caught up with.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "auth/keys_file.h"
#include "client/cpp/client.h"
#include "server/billing/ledger_store.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

class AccountsTest : public testing::Test {
 protected:
  // What a full disk is made of (FillDisk) must not end the server by its signal, which is a way of
  // this limit alone. Children inherit that.
  AccountsTest() : before_(signal(SIGXFSZ, SIG_IGN)) {}
  ~AccountsTest() override { signal(SIGXFSZ, before_); }

  std::vector<std::string> Flags(std::vector<std::string> flags) const {
    const char* device = std::getenv("DELTASERVE_LOAD_DEVICE");
    for (const std::string flag :
         {"--model", "tiny=" DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec", "--device",
          device == nullptr ? "cpu" : device, "--usd-per-device-hour", "1"}) {
      flags.push_back(flag);
    }
    return flags;
  }

  void Start(std::vector<std::string> flags) {
    absl::StatusOr<ServerProcess> server = ServerProcess::Start(Flags(std::move(flags)));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<ServerProcess>(*std::move(server));
  }

  std::string AddTenant(const std::string& name) {
    v1::KeysFile::Tenant tenant;
    tenant.set_name(name);
    return AddKey(keys_path_, tenant, /*admin=*/false).value().Text();
  }

  absl::StatusOr<v1::GenerateResponse> Call(const std::string& key = "", int max_tokens = 2) {
    v1::GenerateRequest request;
    request.mutable_token_ids()->add_ids(1);
    request.set_max_tokens(max_tokens);
    request.set_ignore_eos(true);
    // Each refusal is to be seen.
    const Client client =
        Client::Connect(server_->address(), {.credentials = nullptr, .retry = false});
    return client.Generate(request, {.api_key = key});
  }

  // Tells the server to read its keys, and waits until it says how that went.
  void Reload(const std::string& expected) {
    const size_t before = Count(expected);
    server_->process().Signal(SIGHUP);
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (Count(expected) == before) {
      ASSERT_LT(absl::Now(), limit) << server_->process().err();
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  size_t Count(const std::string& text) {
    const std::string log = server_->process().err();
    size_t count = 0;
    for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }

  // The server's files can grow no more, or again.
  void FillDisk() {
    const rlimit limit = {.rlim_cur = std::filesystem::file_size(ledger_path_ + "-wal"),
                          .rlim_max = RLIM_INFINITY};
    ASSERT_EQ(prlimit(server_->process().pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  }
  void FreeDisk() {
    const rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    ASSERT_EQ(prlimit(server_->process().pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  }

  double Metric(const std::string& name) { return server_->ScrapeMetrics().value().Sum(name); }

  // Once the server has written what it could not.
  void AwaitHealthyLedger() {
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (Metric("deltaserve_ledger_healthy") != 1) {
      ASSERT_LT(absl::Now(), limit) << server_->process().err();
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  void ExpectInLedger(const std::string& request_id) {
    ASSERT_TRUE(server_->Stop().ok());
    absl::StatusOr<LedgerStore> store = LedgerStore::Open(ledger_path_);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto row = store->FindRequest(request_id, std::nullopt);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->state, UsageRecord::State::kClosed);
  }

  TempDir dir_;
  const std::string keys_path_ = dir_ / "keys";
  const std::string ledger_path_ = dir_ / "ledger.db";
  std::unique_ptr<ServerProcess> server_;

 private:
  void (*const before_)(int);
};

TEST_F(AccountsTest, KeysComeAndGoWithoutARestart) {
  const std::string acme = AddTenant("acme");
  Start({"--keys", keys_path_});
  if (HasFatalFailure()) return;
  EXPECT_TRUE(Call(acme).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Call().status()));
  EXPECT_TRUE(absl::IsUnauthenticated(Call(acme + "0").status()));
  std::ifstream before(keys_path_);
  const std::string first((std::istreambuf_iterator<char>(before)), {});

  // Another tenant: known from the reload on, in the metrics as well.
  const std::string bob = AddTenant("bob");
  EXPECT_TRUE(absl::IsUnauthenticated(Call(bob).status()));
  Reload("read anew: 2 tenants");
  EXPECT_TRUE(Call(bob).ok());
  EXPECT_TRUE(Call(acme).ok());
  EXPECT_THAT(HttpGet(server_->metrics_address(), "/metrics").value(), HasSubstr("tenant=\"bob\""));

  // What is wrong changes nothing: a file that is cut off, none at all, a budget without a ledger.
  for (const char* wrong : {"tenants { name: \"acme\"", "",
                            "tenants { name: \"a\" budget { usd: \"1\" period: \"day\" } }"}) {
    std::ofstream(keys_path_) << wrong;
    if (*wrong == '\0') std::filesystem::remove(keys_path_);
    Reload("the keys stay as they were: ");
    EXPECT_TRUE(Call(acme).ok()) << wrong;
    EXPECT_TRUE(Call(bob).ok()) << wrong;
  }
  EXPECT_THAT(server_->process().err(), HasSubstr(keys_path_ + ":1:"));
  EXPECT_THAT(server_->process().err(), HasSubstr("tenant a has a budget, which takes a --ledger"));

  // A key that is taken out is revoked.
  std::ofstream(keys_path_) << first;
  Reload("read anew: 1 tenants");
  EXPECT_TRUE(Call(acme).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Call(bob).status()));
  EXPECT_EQ(server_->Stop().value_or(-1), 0);
  EXPECT_THAT(server_->process().err(), testing::Not(HasSubstr(acme)));
}

// One that runs and one that waits are all that a tenant has room for; another is served.
TEST_F(AccountsTest, ATenantCannotTakeTheWholeQueue) {
  const std::string greedy = AddTenant("greedy");
  const std::string other = AddTenant("other");
  Start({"--keys", keys_path_, "--max-sequences", "1", "--max-queued-requests-per-tenant", "1"});
  if (HasFatalFailure()) return;
  std::atomic<int> refused = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      const absl::Status status = Call(greedy, /*max_tokens=*/250).status();
      if (status.ok()) return;
      ++refused;
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("tenant greedy has its share"));
      EXPECT_TRUE(RetryDelayOf(status).has_value());
    });
  }
  const absl::Status served = Call(other).status();
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(served.ok()) << served;
  EXPECT_GT(refused, 0);
}

TEST_F(AccountsTest, AFullDiskRefusesUntilItIsFree) {
  Start({"--ledger", ledger_path_});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(Call().ok());
  FillDisk();
  const absl::Status first = Call().status();  // it computes, and cannot be written
  EXPECT_TRUE(absl::IsUnavailable(first)) << first;
  EXPECT_THAT(std::string(first.message()), HasSubstr("ledger cannot be written"));
  EXPECT_EQ(Metric("deltaserve_ledger_healthy"), 0);
  EXPECT_TRUE(absl::IsUnavailable(Call().status()));
  EXPECT_EQ(Count("the ledger cannot be written"), 1u) << server_->process().err();

  FreeDisk();
  AwaitHealthyLedger();
  if (HasFatalFailure()) return;
  EXPECT_TRUE(Call().ok());
  EXPECT_EQ(Metric("deltaserve_ledger_lost_records_total"), 0);
  ExpectInLedger(RequestIdOf(first));
}

TEST_F(AccountsTest, OrGoesOnAndWritesLater) {
  Start({"--ledger", ledger_path_, "--ledger-failure", "continue"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(Call()->usage().durable());
  FillDisk();
  std::string id;
  for (int i = 0; i < 20; ++i) {
    const auto response = Call();
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_TRUE(response->usage().has_durable());
    EXPECT_FALSE(response->usage().durable());
    id = response->request_id();
  }
  EXPECT_EQ(Metric("deltaserve_ledger_healthy"), 0);
  FreeDisk();
  AwaitHealthyLedger();
  if (HasFatalFailure()) return;
  EXPECT_TRUE(Call()->usage().durable());
  ExpectInLedger(id);
}

TEST_F(AccountsTest, ALedgerThatAnotherHasOpenKeepsItFromStarting) {
  absl::StatusOr<LedgerStore> other = LedgerStore::Open(ledger_path_);
  ASSERT_TRUE(other.ok()) << other.status();
  const absl::Status refused = ServerProcess::Start(Flags({"--ledger", ledger_path_})).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(ledger_path_ + ": another process has it open"));
}

}  // namespace
}  // namespace deltaserve
