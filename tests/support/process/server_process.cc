#include "tests/support/process/server_process.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace deltaserve {
namespace {

absl::StatusOr<std::string> ServerBinary() {
  if (const char* path = std::getenv("DELTASERVE_BINARY")) return std::string(path);
#ifdef DELTASERVE_BINARY
  return std::string(DELTASERVE_BINARY);
#else
  return absl::NotFoundError("DELTASERVE_BINARY names no server, and this build has none");
#endif
}

// What follows `prefix` on the first line of `text` that begins with it.
std::string LineAfter(absl::string_view text, absl::string_view prefix) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, prefix)) return std::string(line);
  }
  return "";
}

}  // namespace

MetricsSnapshot::MetricsSnapshot(const std::string& exposition) {
  for (absl::string_view line : absl::StrSplit(exposition, '\n')) {
    if (line.empty() || line[0] == '#') continue;
    const std::pair<absl::string_view, absl::string_view> key_and_value =
        absl::StrContains(line, '}')
            ? std::pair(line.substr(0, line.rfind('}')), line.substr(line.rfind('}') + 1))
            : std::pair(line.substr(0, line.find(' ')), line.substr(line.find(' ') + 1));
    const std::vector<std::string> name_and_labels =
        absl::StrSplit(key_and_value.first, absl::MaxSplits('{', 1));
    const std::vector<std::string> value =
        absl::StrSplit(key_and_value.second, ' ', absl::SkipEmpty());  // a timestamp may follow
    Sample sample = {name_and_labels[0], name_and_labels.size() > 1 ? name_and_labels[1] : "", 0};
    if (!value.empty() && absl::SimpleAtod(value[0], &sample.value)) samples_.push_back(sample);
  }
}

double MetricsSnapshot::Sum(const std::string& name, const std::vector<std::string>& labels) const {
  double sum = 0;
  for (const Sample& sample : samples_) {
    bool matches = sample.name == name;
    for (const std::string& label : labels) {
      matches = matches && absl::StrContains(sample.labels, label);
    }
    if (matches) sum += sample.value;
  }
  return sum;
}

bool MetricsSnapshot::Has(const std::string& name) const {
  for (const Sample& sample : samples_) {
    if (sample.name == name) return true;
  }
  return false;
}

absl::StatusOr<ServerProcess> ServerProcess::Start(const std::vector<std::string>& flags,
                                                   absl::Duration timeout) {
  const absl::StatusOr<std::string> binary = ServerBinary();
  if (!binary.ok()) return binary.status();
  std::vector<std::string> command = {*binary, "--listen", "127.0.0.1:0", "--metrics",
                                      "127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(std::move(command));
  if (!process.ok()) return process.status();

  ServerProcess server;
  server.process_ = *std::move(process);
  for (const char* end_of_line : {"/metrics\n", "listening on "}) {
    absl::Status status = server.process_->WaitForOutput(end_of_line, timeout);
    if (!status.ok()) return status;
  }
  const std::string out = server.process_->out();
  server.address_ = LineAfter(out, "listening on ");
  server.metrics_address_ =
      std::string(absl::StripSuffix(LineAfter(out, "metrics on http://"), "/metrics"));
  if (server.address_.empty() || server.metrics_address_.empty()) {
    return absl::InternalError(absl::StrCat("addresses not understood: ", out));
  }
  return server;
}

absl::StatusOr<MetricsSnapshot> ServerProcess::ScrapeMetrics() const {
  absl::StatusOr<std::string> text = HttpGet(metrics_address_, "/metrics");
  if (!text.ok()) return text.status();
  return MetricsSnapshot(*text);
}

absl::StatusOr<int> ServerProcess::Stop(absl::Duration timeout) {
  process_->Signal(SIGTERM);
  return process_->Wait(timeout);
}

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path) {
  const std::pair<std::string, std::string> host_and_port = absl::StrSplit(address, ':');
  int port = 0;
  sockaddr_in peer = {};
  peer.sin_family = AF_INET;
  if (!absl::SimpleAtoi(host_and_port.second, &port) ||
      inet_pton(AF_INET, host_and_port.first.c_str(), &peer.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(address, " is not IPv4:PORT"));
  }
  peer.sin_port = htons(port);

  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::ErrnoToStatus(errno, "socket");
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n");
  std::string response;
  bool failed = connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof(peer)) != 0 ||
                send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
                    static_cast<ssize_t>(request.size());
  char buffer[4096];
  for (ssize_t size = 1; !failed && size > 0;) {
    size = recv(fd, buffer, sizeof(buffer), 0);
    failed = size < 0;
    if (size > 0) response.append(buffer, size);
  }
  const int error = errno;
  close(fd);
  if (failed) return absl::ErrnoToStatus(error, absl::StrCat("GET ", address, path));

  const std::vector<std::string> head_and_body =
      absl::StrSplit(response, absl::MaxSplits("\r\n\r\n", 1));
  if (head_and_body.size() != 2 || !absl::StartsWith(response, "HTTP/1.1 200")) {
    return absl::UnavailableError(absl::StrCat("GET ", path, ": ", head_and_body[0]));
  }
  return head_and_body[1];
}

}  // namespace deltaserve
