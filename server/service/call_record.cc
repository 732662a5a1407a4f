#include "server/service/call_record.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/service/status_mapping.h"
#include "server/service/wire.h"

namespace deltaserve {
namespace {

std::string_view Name(Method method) {
  switch (method) {
    case Method::kGenerate:
      return "Generate";
    case Method::kGenerateStream:
      return "GenerateStream";
    case Method::kScore:
      return "Score";
  }
  return "?";
}

double Milliseconds(SteadyNs ns) { return static_cast<double>(ns) * 1e-6; }

}  // namespace

SteadyNs SteadyDeadline(std::chrono::system_clock::time_point deadline,
                        std::chrono::system_clock::time_point wall_now, SteadyNs steady_now) {
  // Compared in the clock's own unit: the difference to "never" would overflow.
  if (deadline >= wall_now + std::chrono::hours(24 * 365)) return kNoDeadline;
  return steady_now +
         std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - wall_now).count();
}

bool PassedDeadline(SteadyNs cancelled_at, SteadyNs received, SteadyNs deadline) {
  if (deadline == kNoDeadline) return false;
  // The deadline travels as a time left, in two or three digits: the server's is later by up to 1
  // %.
  const SteadyNs slack = 5'000'000 + (deadline - received) / 100;
  return cancelled_at >= deadline - slack;
}

CallRecord::CallRecord(const ServiceContext* context, Method method,
                       grpc::CallbackServerContext* grpc_context)
    : context_(context),
      method_(method),
      grpc_context_(grpc_context),
      id_(context->ids->Next()),
      request_id_(context->ids->Name(id_)),
      received_(context->clock->Now()),
      deadline_(
          SteadyDeadline(grpc_context->deadline(), std::chrono::system_clock::now(), received_)) {
  context_->calls->Add(id_);
  context_->observer->OnReceived(method_);
}

CallRecord::~CallRecord() { context_->calls->Remove(id_); }

absl::Status CallRecord::Admissible(const grpc::ByteBuffer& request) {
  if (!request.Valid()) {
    Cancel();
    return absl::CancelledError("the caller left before its request arrived");
  }
  if (context_->calls->refusing()) return absl::UnavailableError("the server is shutting down");
  if (deadline_ <= context_->clock->Now()) {
    return absl::DeadlineExceededError("the deadline had passed on arrival");
  }
  absl::StatusOr<Caller> caller = context_->tenants->Authenticate(grpc_context_->client_metadata());
  if (!caller.ok()) return caller.status();
  tenant_ = std::move(caller->tenant);
  return absl::OkStatus();
}

absl::StatusOr<const ServedModel*> CallRecord::FindModel(std::string_view name) {
  absl::StatusOr<const ServedModel*> model = FindModelFor(*tenant_, *context_->models, name);
  if (model.ok()) model_ = *model;
  return model;
}

absl::Status CallRecord::AdmitTokens(int64_t tokens) {
  absl::Status status = context_->rates->Admit(*tenant_, tokens);
  if (status.ok()) admitted_tokens_ = tokens;
  return status;
}

void CallRecord::Cancel() { cancelled_at_ = context_->clock->Now(); }

absl::StatusOr<const ServedModel*> FindModelFor(const Tenant& tenant, const ModelRegistry& models,
                                                std::string_view name) {
  absl::StatusOr<const ServedModel*> model = models.Find(name);
  if (model.ok() && !tenant.MayUse((*model)->info.name)) {
    return absl::PermissionDeniedError(
        absl::StrCat("model: tenant ", tenant.name, " may not use ", (*model)->info.name));
  }
  return model;
}

absl::Status CallRecord::Explain(const absl::Status& status) const {
  if (status.code() != absl::StatusCode::kCancelled) return PublicStatus(status, request_id_);
  const SteadyNs cancelled_at = cancelled_at_;
  if (cancelled_at != kNoDeadline && PassedDeadline(cancelled_at, received_, deadline_)) {
    return absl::DeadlineExceededError("the deadline passed");
  }
  if (cancelled_at == kNoDeadline && context_->calls->cancelled_all()) {
    return absl::UnavailableError("the server is shutting down");
  }
  return status;
}

grpc::Status CallRecord::Refuse(const absl::Status& status) { return Finish(status, Usage{}); }

grpc::Status CallRecord::End(const absl::Status& status, const Usage& usage) {
  if (!status.ok()) {
    grpc_context_->AddTrailingMetadata("deltaserve-usage-bin", ToProto(usage).SerializeAsString());
  }
  return Finish(status, usage);
}

grpc::Status CallRecord::Finish(const absl::Status& status, const Usage& usage) {
  const SteadyNs duration_ns = context_->clock->Now() - received_;
  if (admitted_tokens_ > 0) {
    context_->rates->GiveBack(*tenant_, admitted_tokens_ - usage.prompt_tokens -
                                            usage.completion_tokens - usage.scored_tokens);
  }
  const absl::Status shown = Explain(status);
  const std::string_view model = model_ == nullptr ? "" : std::string_view(model_->info.name);
  context_->observer->OnFinished(method_, model, shown, usage, duration_ns);
  Log(status, shown, usage, duration_ns);
  if (!shown.ok()) grpc_context_->AddTrailingMetadata("deltaserve-request-id", request_id_);
  return ToGrpcStatus(shown);
}

// One line a call. Neither prompts nor what callers called their models: messages of refusals may
// quote both, and are for the caller.
void CallRecord::Log(const absl::Status& status, const absl::Status& shown, const Usage& usage,
                     SteadyNs duration_ns) const {
  context_->log->info(
      "request_id={} tenant={} method={} model={} status={} prompt_tokens={} "
      "cached_prompt_tokens={} "
      "completion_tokens={} scored_tokens={} queue_ms={:.3f} first_token_ms={:.3f} total_ms={:.3f} "
      "device_ms={:.3f}",
      request_id_, tenant_ == nullptr ? "-" : tenant_->name, Name(method_),
      model_ == nullptr ? "-" : model_->info.name, absl::StatusCodeToString(shown.code()),
      usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, usage.scored_tokens,
      Milliseconds(usage.queue_ns), Milliseconds(usage.time_to_first_token_ns),
      Milliseconds(duration_ns), Milliseconds(usage.TotalDeviceUse().device_ns));
  if (shown.code() == absl::StatusCode::kInternal) {
    context_->log->error("request_id={} internal error: {}", request_id_, status.ToString());
  }
}

}  // namespace deltaserve
