#include "server/service/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace deltaserve {
namespace {

// Within which callers notice that the health is NOT_SERVING, and read the ends of their calls.
constexpr absl::Duration kNoticeTime = absl::Milliseconds(500);

// The service itself refuses what is over max_request_bytes, with a status that says so. What is
// far over it is not even received.
int TransportLimit(int32_t max_request_bytes) {
  return static_cast<int>(std::min<int64_t>(4 * static_cast<int64_t>(max_request_bytes),
                                            std::numeric_limits<int>::max()));
}

void SetTransport(RequestLimits limits, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(TransportLimit(limits.max_request_bytes));
  // Two servers on one port would share its callers unnoticed.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Notice callers that vanish without a word, and allow theirs to do the same.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const std::string& address, InferenceService::Dependencies dependencies, RequestLimits limits,
    std::shared_ptr<grpc::ServerCredentials> credentials) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  std::vector<std::string> models;
  for (const ServedModel& model : dependencies.models->models()) models.push_back(model.info.name);
  // Not make_unique: the constructor is private.
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(dependencies), limits));

  grpc::ServerBuilder builder;
  SetTransport(limits, &builder);
  int port = 0;
  builder.AddListeningPort(address, std::move(credentials), &port);
  builder.RegisterService(server->service_.grpc_service());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
  }
  server->address_ = absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
  server->health_ = std::make_unique<Health>(server->server_->GetHealthCheckService(), models);
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

void GrpcServer::Shutdown(absl::Duration drain_limit) {
  if (server_ == nullptr || std::exchange(shut_down_, true)) return;
  service_.RefuseNewCalls();
  health_->Shutdown();
  if (!service_.AwaitNoCalls(drain_limit)) {
    service_.CancelCalls();
    // The engine ends them after the step under way.
    service_.AwaitNoCalls(absl::InfiniteDuration());
  }
  // What gRPC's shutdown meets on its way ends with CANCELLED, which does not say that it may be
  // tried elsewhere.
  absl::SleepFor(std::min(drain_limit, kNoticeTime));
  // What is left are health watchers, which end now.
  server_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace deltaserve
