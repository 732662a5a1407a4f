#include "server/telemetry/metrics_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "server/telemetry/metrics.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

std::string HttpGet(const std::string& address, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in peer = {};
  peer.sin_family = AF_INET;
  peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  peer.sin_port = htons(std::stoi(address.substr(address.rfind(':') + 1)));
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)), 0);
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string response;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) response.append(buffer, n);
  close(fd);
  return response;
}

TEST(MetricsServerTest, ServesTheRegistryOnAFreePort) {
  Metrics metrics({"m"});
  metrics.OnReceived(Method::kGenerate);
  const auto server = MetricsServer::Start("127.0.0.1:0", {metrics.registry()});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_NE((*server)->address(), "127.0.0.1:0");

  const std::string response = HttpGet((*server)->address(), "/metrics");
  EXPECT_THAT(response, HasSubstr("200 OK"));
  EXPECT_THAT(response, HasSubstr("deltaserve_requests_received_total{method=\"Generate\"} 1"));
}

TEST(MetricsServerTest, AnAddressInUseIsAnError) {
  Metrics metrics({"m"});
  const auto first = MetricsServer::Start("127.0.0.1:0", {metrics.registry()});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = MetricsServer::Start((*first)->address(), {metrics.registry()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
}

}  // namespace
}  // namespace deltaserve
