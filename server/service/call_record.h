#ifndef DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_
#define DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <spdlog/logger.h>

#include <atomic>
#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "server/api/clock.h"
#include "server/api/observers.h"
#include "server/service/active_calls.h"
#include "server/service/model_registry.h"
#include "server/service/request_ids.h"
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
};

// A wall-clock deadline on the steady clock; never: kNoDeadline.
SteadyNs SteadyDeadline(std::chrono::system_clock::time_point deadline,
                        std::chrono::system_clock::time_point wall_now, SteadyNs steady_now);

// Whether a caller that cancelled did so because its deadline passed, which looks the same from
// here.
bool PassedDeadline(SteadyNs cancelled_at, SteadyNs received, SteadyNs deadline);

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
  SteadyNs deadline() const { return deadline_; }

  // Not OK: the call cannot even start (draining, deadline passed, or the caller left before
  // `request` was here, which is then not Valid()).
  absl::Status Admissible(const grpc::ByteBuffer& request);
  // A served model was named.
  void SetModel(const ServedModel* model) { model_ = model; }
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
  const ServedModel* model_ = nullptr;
  std::atomic<SteadyNs> cancelled_at_ = kNoDeadline;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_CALL_RECORD_H_
