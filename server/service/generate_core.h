#ifndef DELTASERVE_SERVER_SERVICE_GENERATE_CORE_H_
#define DELTASERVE_SERVER_SERVICE_GENERATE_CORE_H_

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <vector>

#include "server/service/call_record.h"
#include "server/service/sample_output.h"
#include "server/service/token_mailbox.h"

namespace deltaserve {

// What Generate and GenerateStream have in common: the request on its way in and the samples on
// their way out. Start on a gRPC thread; after that all but Cancel on the text thread that runs the
// call.
class GenerateCore {
 public:
  GenerateCore(const ServiceContext* context, Method method,
               grpc::CallbackServerContext* grpc_context)
      : context_(context), record_(context, method, grpc_context) {}

  // Validates and submits. OK: `sink` will see OnDone.
  absl::Status Start(const grpc::ByteBuffer& bytes, std::shared_ptr<TokenSink> sink);

  // Turns tokens into text, and tells the engine of samples that reached a stop string.
  void Read(const Mail& mail);

  // The caller left.
  void Cancel();

  CallRecord& record() { return record_; }
  std::vector<SampleOutput>& samples() { return samples_; }

  // Sets request_id, model and seed of a GenerateResponse or GenerateChunk.
  template <typename Message>
  void SetHeader(Message* message) const {
    message->set_request_id(record_.request_id());
    message->set_model(model_->info.name);
    message->set_seed(seed_);
  }

 private:
  // Tells the observer of a sample's new tokens, and of its end.
  void Report(const Mail::Event& event);

  const ServiceContext* const context_;
  CallRecord record_;
  const ServedModel* model_ = nullptr;
  uint64_t seed_ = 0;
  std::unique_ptr<const OutputFormat> format_;
  std::vector<SampleOutput> samples_;
  std::vector<SampleStats> stats_;  // of each sample
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_GENERATE_CORE_H_
