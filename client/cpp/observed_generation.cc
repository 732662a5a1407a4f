#include "client/cpp/observed_generation.h"

#include <grpcpp/support/client_callback.h>

#include <memory>

#include "client/cpp/call_context.h"
#include "client/cpp/call_status.h"

namespace deltaserve {
namespace {

class ObservedGeneration final : public grpc::ClientReadReactor<v1::GenerateChunk> {
 public:
  ObservedGeneration(GenerationObserver* observer, const CallOptions& options)
      : observer_(observer), context_(options) {}

  // Once started, it deletes itself.
  void Start(v1::InferenceService::StubInterface& stub, const v1::GenerateRequest& request) {
    stub.async()->GenerateStream(&context_.grpc(), &request, this);
    StartRead(&chunk_);
    StartCall();
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    observer_->OnChunk(chunk_);
    StartRead(&chunk_);
  }

  void OnDone(const grpc::Status& status) override {
    const absl::Status ended = ToAbslStatus(status, context_.grpc());
    GenerationObserver* const observer = observer_;
    delete this;  // first: the observer's end may be the end of all that the call refers to
    observer->OnEnd(ended);
  }

  GenerationObserver* const observer_;
  CallContext context_;
  v1::GenerateChunk chunk_;
};

}  // namespace

void StartObservedGeneration(v1::InferenceService::StubInterface& stub,
                             const v1::GenerateRequest& request, GenerationObserver* observer,
                             const CallOptions& options) {
  (new ObservedGeneration(observer, options))->Start(stub, request);
}

}  // namespace deltaserve
