#include "server/service/admin_service.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "deltaserve/v1/admin.grpc.pb.h"
#include "server/service/status_mapping.h"
#include "server/service/wire.h"

namespace deltaserve {
namespace {

constexpr int64_t kMaxRequestBytes = 64 << 10;

std::string ToText(absl::Time time) { return absl::FormatTime(time, absl::UTCTimeZone()); }

v1::RequestUsage ToProto(const UsageRecord& record) {
  v1::RequestUsage out;
  out.set_request_id(record.request_id);
  out.set_tenant(record.tenant);
  out.set_model(record.model);
  out.set_opened(ToText(record.opened));
  if (record.closed) out.set_closed(ToText(*record.closed));
  out.set_state(std::string(Name(record.state)));
  out.set_status(absl::StatusCodeToString(record.code));
  if (record.reserved) out.set_reserved_usd(Usd(*record.reserved));
  out.set_billed_usd(Usd(record.billed));
  out.set_absorbed_usd(Usd(record.absorbed));
  *out.mutable_usage() = ToProto(record.usage);
  return out;
}

v1::UsageTotal ToProto(const UsageTotal& total) {
  v1::UsageTotal out;
  if (total.tenant) out.set_tenant(*total.tenant);
  if (total.model) out.set_model(*total.model);
  if (total.day) out.set_day(absl::FormatCivilTime(*total.day));
  out.set_requests(total.requests);
  out.set_interrupted(total.interrupted);
  out.set_billed_usd(Usd(total.billed));
  out.set_absorbed_usd(Usd(total.absorbed));
  *out.mutable_usage() = ToProto(total.usage);
  return out;
}

absl::Status ParseDay(const char* field, const std::string& text,
                      std::optional<absl::CivilDay>* day) {
  absl::CivilDay parsed;
  if (!absl::ParseCivilTime(text, &parsed)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": \"", absl::CHexEscape(text), "\" is not a day such as 2026-11-23"));
  }
  *day = parsed;
  return absl::OkStatus();
}

absl::StatusOr<UsageQuery> QueryOf(const v1::GetUsageRequest& request) {
  UsageQuery query;
  if (request.has_tenant()) query.tenant = request.tenant();
  if (request.has_model()) query.model = request.model();
  if (request.has_first_day()) {
    absl::Status status = ParseDay("first_day", request.first_day(), &query.first_day);
    if (!status.ok()) return status;
  }
  if (request.has_last_day()) {
    absl::Status status = ParseDay("last_day", request.last_day(), &query.last_day);
    if (!status.ok()) return status;
  }
  query.by_tenant = request.by_tenant();
  query.by_model = request.by_model();
  query.by_day = request.by_day();
  return query;
}

using Rpcs = v1::AdminService;

class Handlers final : public Rpcs::WithRawCallbackMethod_GetUsage<Rpcs::Service> {
 public:
  Handlers(const Tenants* tenants, UsageReader* ledger) : tenants_(tenants), ledger_(ledger) {}

  grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::Status status = Ask(*context, *bytes, response, reactor);
    if (!status.ok()) reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

 private:
  // OK: the ledger's answer finishes the call.
  absl::Status Ask(const grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                   grpc::ByteBuffer* response, grpc::ServerUnaryReactor* reactor) {
    absl::StatusOr<Caller> caller = tenants_->Authenticate(context.client_metadata());
    if (!caller.ok()) return caller.status();
    v1::GetUsageRequest request;
    if (absl::Status status = ParseRequest(bytes, kMaxRequestBytes, &request); !status.ok()) {
      return status;
    }
    if (!caller->admin) {
      if (request.has_tenant() && request.tenant() != caller->tenant->name) {
        return absl::PermissionDeniedError("tenant: the key sees its own alone");
      }
      request.set_tenant(caller->tenant->name);
    }
    absl::StatusOr<UsageQuery> query = QueryOf(request);
    if (!query.ok()) return query.status();
    if (ledger_ == nullptr) {
      return absl::FailedPreconditionError("the server keeps no ledger; see its flag --ledger");
    }
    if (request.has_request_id()) {
      ledger_->FindRequest(request.request_id(), query->tenant,
                           [reactor, response](absl::StatusOr<UsageRecord> record) {
                             v1::GetUsageResponse message;
                             if (record.ok()) *message.mutable_request() = ToProto(*record);
                             *response = Serialize(message);
                             reactor->Finish(ToGrpcStatus(record.status()));
                           });
      return absl::OkStatus();
    }
    ledger_->FindTotals(*query,
                        [reactor, response](absl::StatusOr<std::vector<UsageTotal>> totals) {
                          v1::GetUsageResponse message;
                          if (totals.ok()) {
                            for (const UsageTotal& total : *totals) {
                              *message.add_totals() = ToProto(total);
                            }
                          }
                          *response = Serialize(message);
                          reactor->Finish(ToGrpcStatus(totals.status()));
                        });
    return absl::OkStatus();
  }

  const Tenants* const tenants_;
  UsageReader* const ledger_;
};

}  // namespace

AdminServer::AdminServer(const Tenants* tenants, UsageReader* ledger)
    : service_(std::make_unique<Handlers>(tenants, ledger)) {}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(
    const std::string& address, const Tenants* tenants, UsageReader* ledger,
    std::shared_ptr<grpc::ServerCredentials> credentials) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Not make_unique: the constructor is private.
  std::unique_ptr<AdminServer> server(new AdminServer(tenants, ledger));
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(address, std::move(credentials), &port);
  builder.RegisterService(server->service_.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
  }
  server->address_ = absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
  return server;
}

AdminServer::~AdminServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace deltaserve
