#ifndef DELTASERVE_SERVER_SERVICE_INFERENCE_SERVICE_H_
#define DELTASERVE_SERVER_SERVICE_INFERENCE_SERVICE_H_

#include <grpcpp/impl/codegen/service_type.h>
#include <spdlog/logger.h>

#include <memory>

#include "absl/time/time.h"
#include "server/api/clock.h"
#include "server/api/observers.h"
#include "server/service/active_calls.h"
#include "server/service/call_record.h"
#include "server/service/model_registry.h"
#include "server/service/rate_limiter.h"
#include "server/service/request_ids.h"
#include "server/service/tenants.h"
#include "server/service/text_executor.h"
#include "server/service/validation.h"

namespace deltaserve {

// deltaserve.v1.InferenceService: what callers see of the models. Its handlers run on gRPC's
// threads; tokens become text on a thread of its own.
class InferenceService {
 public:
  // All that is pointed at outlives the service; so must the engine, until no call is left.
  struct Dependencies {
    const ModelRegistry* models;
    const Clock* clock;
    RequestObserver* observer;
    std::shared_ptr<spdlog::logger> log;
    const Tenants* tenants;
  };

  InferenceService(Dependencies dependencies, RequestLimits limits);
  // No call may be left.
  ~InferenceService();

  InferenceService(const InferenceService&) = delete;
  InferenceService& operator=(const InferenceService&) = delete;

  // What to register with a server.
  grpc::Service* grpc_service() { return handlers_.get(); }

  // Generate, GenerateStream and Score are refused with UNAVAILABLE from now on.
  void RefuseNewCalls() { calls_.RefuseNew(); }
  // Ends the calls under way with UNAVAILABLE.
  void CancelCalls() { calls_.CancelAll(); }
  // Whether no call is left, within `limit`.
  bool AwaitNoCalls(absl::Duration limit) const { return calls_.AwaitNone(limit); }

 private:
  const Dependencies dependencies_;
  ActiveCalls calls_;
  RequestIds ids_;
  SeedGenerator seeds_;
  TextExecutor text_;
  RateLimiter rates_;
  const ServiceContext context_;
  std::unique_ptr<grpc::Service> handlers_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_INFERENCE_SERVICE_H_
