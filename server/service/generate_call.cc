#include "server/service/generate_call.h"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "server/service/generate_core.h"
#include "server/service/token_mailbox.h"
#include "server/service/wire.h"

namespace deltaserve {
namespace {

// One answer, at the end.
class GenerateCall final : public grpc::ServerUnaryReactor, public TokenMailbox::Reader {
 public:
  GenerateCall(const ServiceContext* context, grpc::CallbackServerContext* grpc_context,
               grpc::ByteBuffer* response)
      : core_(context, Method::kGenerate, grpc_context), response_(response) {}

  void Start(const grpc::ByteBuffer& request, std::shared_ptr<TokenMailbox> mailbox) {
    mailbox_ = mailbox;
    absl::Status status = core_.Start(request, std::move(mailbox));
    if (!status.ok()) Finish(core_.record().Refuse(status));
  }

  void OnMail(Mail mail) override {
    core_.Read(mail);
    if (!mail.outcome.has_value()) return;
    const RequestOutcome& outcome = *mail.outcome;
    if (outcome.status.ok()) {
      v1::GenerateResponse response;
      core_.SetHeader(&response);
      for (SampleOutput& sample : core_.samples()) *response.add_samples() = sample.Take();
      *response.mutable_usage() = ToProto(outcome.usage);
      *response_ = Serialize(response);
    }
    Finish(core_.record().End(outcome.status, outcome.usage));
  }

  void OnCancel() override { core_.Cancel(); }
  void OnDone() override { std::exchange(mailbox_, nullptr)->Close(); }

 private:
  GenerateCore core_;
  grpc::ByteBuffer* const response_;  // gRPC's, until OnDone
  std::shared_ptr<TokenMailbox> mailbox_;
};

// Messages as tokens come: one write is in flight at a time, and what comes meanwhile merges into
// the next.
class GenerateStreamCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                 public TokenMailbox::Reader {
 public:
  GenerateStreamCall(const ServiceContext* context, grpc::CallbackServerContext* grpc_context)
      : core_(context, Method::kGenerateStream, grpc_context) {}

  void Start(const grpc::ByteBuffer& request, std::shared_ptr<TokenMailbox> mailbox) {
    mailbox_ = mailbox;
    absl::Status status = core_.Start(request, std::move(mailbox));
    if (!status.ok()) Finish(core_.record().Refuse(status));
  }

  void OnMail(Mail mail) override {
    core_.Read(mail);
    if (mail.outcome.has_value()) outcome_ = std::move(mail.outcome);
    if (finished_ || writing_.load(std::memory_order_acquire)) return;
    if (outcome_.has_value()) {
      finished_ = true;
      WriteEnd();
    } else if (HasNews() && !broken_) {
      WriteNews();
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {  // nobody reads any more
      broken_ = true;
      core_.Cancel();
    }
    writing_.store(false, std::memory_order_release);
    mailbox_->Wake();
  }

  void OnCancel() override { core_.Cancel(); }
  void OnDone() override { std::exchange(mailbox_, nullptr)->Close(); }

 private:
  bool HasNews() {
    for (const SampleOutput& sample : core_.samples()) {
      if (sample.HasNews()) return true;
    }
    return false;
  }

  v1::GenerateChunk TakeNews() {
    v1::GenerateChunk chunk;
    if (!std::exchange(header_sent_, true)) core_.SetHeader(&chunk);
    for (SampleOutput& sample : core_.samples()) {
      if (sample.HasNews()) *chunk.add_samples() = sample.Take();
    }
    return chunk;
  }

  void WriteNews() {
    message_ = Serialize(TakeNews());
    writing_.store(true, std::memory_order_relaxed);
    StartWrite(&message_);
  }

  // The last message and the status. A call that does not end OK still shows the text it has.
  void WriteEnd() {
    const bool ok = outcome_->status.ok();
    const bool write = !broken_ && (ok || HasNews());
    if (write) {
      v1::GenerateChunk chunk = TakeNews();
      if (ok) *chunk.mutable_usage() = ToProto(outcome_->usage);
      message_ = Serialize(chunk);
    }
    grpc::Status status = core_.record().End(outcome_->status, outcome_->usage);
    if (write) {
      StartWriteAndFinish(&message_, grpc::WriteOptions(), std::move(status));
    } else {
      Finish(std::move(status));
    }
  }

  GenerateCore core_;
  std::shared_ptr<TokenMailbox> mailbox_;
  grpc::ByteBuffer message_;  // gRPC's while writing_
  std::atomic<bool> writing_ = false;
  std::atomic<bool> broken_ = false;
  // The text thread's.
  bool header_sent_ = false;
  bool finished_ = false;
  std::optional<RequestOutcome> outcome_;
};

}  // namespace

grpc::ServerUnaryReactor* StartGenerate(const ServiceContext* context,
                                        grpc::CallbackServerContext* grpc_context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) {
  auto call = std::make_shared<GenerateCall>(context, grpc_context, response);
  call->Start(*request, std::make_shared<TokenMailbox>(call, context->text, context->clock));
  return call.get();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerateStream(
    const ServiceContext* context, grpc::CallbackServerContext* grpc_context,
    const grpc::ByteBuffer* request) {
  auto call = std::make_shared<GenerateStreamCall>(context, grpc_context);
  call->Start(*request, std::make_shared<TokenMailbox>(call, context->text, context->clock));
  return call.get();
}

}  // namespace deltaserve
