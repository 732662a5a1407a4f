#ifndef DELTASERVE_CLIENT_CPP_GENERATION_STREAM_H_
#define DELTASERVE_CLIENT_CPP_GENERATION_STREAM_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "client/cpp/call_options.h"
#include "deltaserve/v1/inference.grpc.pb.h"

namespace deltaserve {

class CallContext;

// A generation as it comes, made by Client::GenerateStream:
//
//   GenerationStream stream = client.GenerateStream(request);
//   v1::GenerateChunk chunk;
//   while (stream.Read(&chunk)) Show(chunk);
//   absl::Status status = stream.Finish();
//
// Read and Finish belong to one thread; Cancel may be called from any. A stream may outlive its
// client; destroying it before its end cancels the call.
class GenerationStream {
 public:
  GenerationStream(GenerationStream&&) noexcept;
  GenerationStream& operator=(GenerationStream&&) = delete;
  ~GenerationStream();

  // Blocks until the next chunk is there. False: none comes any more, and Finish says why.
  bool Read(v1::GenerateChunk* chunk);

  // Ends the call with CANCELLED, unless it has ended already.
  void Cancel();

  // Blocks until the call has ended, which it cancels where Read has not returned false. Gives the
  // same status every time, with the payloads of call_status.h.
  absl::Status Finish();

 private:
  friend class Client;
  GenerationStream(v1::InferenceService::StubInterface& stub, const v1::GenerateRequest& request,
                   const CallOptions& options);

  std::unique_ptr<CallContext> context_;  // null: moved from
  std::unique_ptr<grpc::ClientReaderInterface<v1::GenerateChunk>> reader_;
  bool has_more_ = true;
  std::optional<absl::Status> status_;
};

// Adds what `chunk` brings to what came before it, so that the chunks of a stream make up the
// response that Generate would have given: samples in the order of their index, whatever order
// their parts came in.
void AppendChunk(const v1::GenerateChunk& chunk, v1::GenerateResponse& response);

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_GENERATION_STREAM_H_
