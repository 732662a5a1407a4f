// Three real servers under load, one drained and one killed: behind gRPC's own round robin, and
// behind HAProxy. Draining loses nothing; what a killed server had not begun to answer is answered
// by another.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/client.h"
#include "server/api/mutex.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

constexpr int kReplicas = 3;
constexpr int kCallers = 8;
constexpr absl::Duration kLimit = absl::Seconds(120);

v1::GenerateRequest Request() {
  v1::GenerateRequest request;
  for (int32_t id = 1; id < 6; ++id) request.mutable_token_ids()->add_ids(id);
  request.set_max_tokens(48);
  request.set_ignore_eos(true);
  return request;
}

// Callers that stream one generation after the other, until this is destroyed. Thread-safe.
class Load {
 public:
  struct Counts {
    int completed = 0;
    // How the others ended, by whether some of their answer had come.
    std::map<absl::StatusCode, int> lost_begun, lost_not_begun;
  };

  explicit Load(const Client& client) {
    for (int i = 0; i < kCallers; ++i) callers_.emplace_back([this, client] { CallOn(client); });
  }
  ~Load() {
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
    }
    for (std::thread& caller : callers_) caller.join();
  }

  Counts counts() const {
    MutexLock lock(&mutex_);
    return counts_;
  }

  // Blocks until so many more calls have ended.
  void Await(int calls) {
    MutexLock lock(&mutex_);
    const int end = ended_ + calls;
    ended_changed_.Wait(&mutex_,
                        [this, end]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ended_ >= end; });
  }

 private:
  void CallOn(const Client& client) {
    while (true) {
      GenerationStream stream = client.GenerateStream(Request(), {.timeout = kLimit});
      v1::GenerateChunk chunk;
      int chunks = 0;
      while (stream.Read(&chunk)) ++chunks;
      const absl::Status status = stream.Finish();
      MutexLock lock(&mutex_);
      ++ended_;
      ended_changed_.NotifyAll();
      if (status.ok()) {
        ++counts_.completed;
      } else {
        ++(chunks > 0 ? counts_.lost_begun : counts_.lost_not_begun)[status.code()];
      }
      if (stopped_) return;
    }
  }

  mutable Mutex mutex_;
  CondVar ended_changed_;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> callers_;
};

class ScaleOutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < kReplicas; ++i) {
      // The split of steps is of no interest here: measuring the device is spared.
      absl::StatusOr<ServerProcess> replica = ServerProcess::Start(
          {"--model", "demo=" DELTASERVE_SOURCE_DIR "/models/demo/ddl_cc_ec", "--threads", "1",
           "--device-gbytes-per-second", "1", "--device-tflops", "1", "--drain-seconds", "100"});
      ASSERT_TRUE(replica.ok()) << replica.status();
      replicas_.push_back(*std::move(replica));
    }
  }

  // The calls that a replica has ended well.
  int AnsweredBy(int i) const {
    const absl::StatusOr<MetricsSnapshot> metrics = replicas_[i].ScrapeMetrics();
    return metrics.ok()
               ? static_cast<int>(metrics->Sum("deltaserve_requests_total", {R"(outcome="ok")"}))
               : -1;
  }

  // Every replica has calls.
  void AwaitAll(Load& load) {
    for (int i = 0; i < kReplicas; ++i) {
      while (AnsweredBy(i) == 0) load.Await(1);
    }
  }

  // One goes as its operator wants it to: nobody loses anything.
  void Drain(int i, Load& load) {
    EXPECT_EQ(replicas_[i].Stop(kLimit).value_or(-1), 0);
    load.Await(4 * kCallers);
    EXPECT_TRUE(load.counts().lost_begun.empty());
    EXPECT_TRUE(load.counts().lost_not_begun.empty());
  }

  // One is gone: it takes with it, at most, what it had begun. How many are lost, by code.
  std::map<absl::StatusCode, int> Kill(int i, Load& load) {
    replicas_[i].process().Signal(SIGKILL);
    EXPECT_EQ(replicas_[i].process().Wait(kLimit).value_or(0), -SIGKILL);
    load.Await(4 * kCallers);
    const Load::Counts counts = load.counts();
    EXPECT_TRUE(counts.lost_not_begun.empty());
    for (const auto& [code, number] : counts.lost_begun) EXPECT_LE(number, kCallers) << code;
    return counts.lost_begun;
  }

  std::vector<ServerProcess> replicas_;
};

TEST_F(ScaleOutTest, RoundRobin) {
  const std::string target = absl::StrCat("ipv4:", replicas_[0].address(), ",",
                                          replicas_[1].address(), ",", replicas_[2].address());
  Load load(Client::Connect(target, {.credentials = {}, .retry = true, .round_robin = true}));
  AwaitAll(load);

  Drain(0, load);
  for (const auto& [code, number] : Kill(1, load)) {
    EXPECT_EQ(code, absl::StatusCode::kUnavailable) << number;
  }
}

// HAProxy, in front of the replicas r0, r1, …, at a socket in the file system.
class HaProxy {
 public:
  explicit HaProxy(const std::vector<ServerProcess>& replicas) {
    std::ofstream config(Path("haproxy.cfg"));
    config << "global\n  stats socket " << Path("admin") << " level admin\n"
           << "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5m\n"
           << "  timeout server 5m\n  retries 3\n  option redispatch 1\n"
           << "frontend calls\n  bind unix@" << Path("calls") << " proto h2\n"
           << "  default_backend replicas\n"
           << "backend replicas\n  balance roundrobin\n";
    for (size_t i = 0; i < replicas.size(); ++i) {
      config << "  server r" << i << " " << replicas[i].address() << " proto h2\n";
    }
    config.close();
    absl::StatusOr<std::unique_ptr<Subprocess>> process =
        Subprocess::Start({"/usr/sbin/haproxy", "-db", "-f", Path("haproxy.cfg")});
    EXPECT_TRUE(process.ok()) << process.status();
    if (process.ok()) process_ = *std::move(process);
  }

  std::string target() const { return absl::StrCat("unix:", Path("calls")); }

  // A command of its runtime API; false while it does not listen yet.
  bool Command(const std::string& command) const {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, Path("admin").c_str(), sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool done = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    const std::string line = command + "\n";
    done = done && write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    char answer[4096];
    while (done && read(fd, answer, sizeof(answer)) > 0) continue;  // to its end: it is carried out
    close(fd);
    return done;
  }

 private:
  std::string Path(const std::string& name) const { return (dir_ / name).string(); }

  TempDir dir_;
  std::unique_ptr<Subprocess> process_;
};

TEST_F(ScaleOutTest, BehindHaProxy) {
  const HaProxy proxy(replicas_);
  while (!proxy.Command("show info")) absl::SleepFor(absl::Milliseconds(10));
  Load load(Client::Connect(proxy.target()));
  AwaitAll(load);

  // As an operator does it: the balancer sends nothing new there, then the server drains.
  ASSERT_TRUE(proxy.Command("set server replicas/r0 state drain"));
  Drain(0, load);
  Kill(1, load);  // HAProxy resets its calls; what code that becomes is its affair
}

}  // namespace
}  // namespace deltaserve
