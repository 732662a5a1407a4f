#ifndef DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_
#define DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <spdlog/logger.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/clock.h"
#include "server/api/observers.h"
#include "server/service/active_calls.h"
#include "server/service/model_registry.h"
#include "server/service/rate_limiter.h"
#include "server/service/request_ids.h"
#include "server/service/tenants.h"
#include "server/service/text_executor.h"
#include "server/service/validation.h"

namespace deltaserve {

// What every call of a service uses; outlives them all.
struct ServiceContext {
  const ModelRegistry* models;
  RequestLimits limits;
  const Clock* clock;
  RequestObserver* observer;
  spdlog::logger* log;
  TextExecutor* text;
  ActiveCalls* calls;
  RequestIds* ids;
  SeedGenerator* seeds;
  const Tenants* tenants;
  RateLimiter* rates;
};

// A wall-clock deadline on the steady clock; never: kNoDeadline.
SteadyNs SteadyDeadline(std::chrono::system_clock::time_point deadline,
                        std::chrono::system_clock::time_point wall_now, SteadyNs steady_now);

// Whether a caller that cancelled did so because its deadline passed, which looks the same from
// here.
bool PassedDeadline(SteadyNs cancelled_at, SteadyNs received, SteadyNs deadline);

// ModelRegistry::Find's, and PERMISSION_DENIED: the tenant may not use it.
absl::StatusOr<const ServedModel*> FindModelFor(const Tenant& tenant, const ModelRegistry& models,
                                                std::string_view name);

// The books of one call, from its arrival to its status: id, deadline, metrics, log line and
// trailing metadata.
class CallRecord {
 public:
  // Reports the call received. `context` and `grpc_context` outlive the record.
  CallRecord(const ServiceContext* context, Method method,
             grpc::CallbackServerContext* grpc_context);
  ~CallRecord();

  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  RequestId id() const { return id_; }
  const std::string& request_id() const { return request_id_; }

  // Not OK: the call cannot even start (draining, deadline passed, its key is not known, or the
  // caller left before `request` was here, which is then not Valid()). To be called first.
  absl::Status Admissible(const grpc::ByteBuffer& request);
  // The model of that name, which the caller may use. ModelRegistry::Find's statuses, and
  // PERMISSION_DENIED.
  absl::StatusOr<const ServedModel*> FindModel(std::string_view name);
  // RESOURCE_EXHAUSTED: the tenant's rates have no room for a request of so many tokens.
  absl::Status AdmitTokens(int64_t tokens);
  // What the engine and the books need to know besides what is asked for.
  template <typename Request>
  void Identify(Request* request) const {
    request->id = id_;
    request->name = request_id_;
    request->tenant = tenant_;
    request->deadline = deadline_;
  }
  // The model's queue has accepted the request. On the thread that submitted it.
  void SetAccepted() { context_->calls->SetQueue(id_, model_->queue); }
  // The caller left. Any thread.
  void Cancel();

  // One of these, once, reports the call finished, sets the trailing metadata of a status that is
  // not OK, and returns what to finish the call with.
  grpc::Status Refuse(const absl::Status& status);
  grpc::Status End(const absl::Status& status, const Usage& usage);

 private:
  grpc::Status Finish(const absl::Status& status, const Usage& usage);
  absl::Status Explain(const absl::Status& status) const;
  void Log(const absl::Status& status, const absl::Status& shown, const Usage& usage,
           SteadyNs duration_ns) const;

  const ServiceContext* const context_;
  const Method method_;
  grpc::CallbackServerContext* const grpc_context_;
  const RequestId id_;
  const std::string request_id_;
  const SteadyNs received_;
  const SteadyNs deadline_;
  std::shared_ptr<const Tenant> tenant_;  // null until it is known
  const ServedModel* model_ = nullptr;
  int64_t admitted_tokens_ = 0;
  std::atomic<SteadyNs> cancelled_at_ = kNoDeadline;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_
