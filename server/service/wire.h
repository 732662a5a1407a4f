// Between the engine's plain values and the wire's messages.
#ifndef DELTASERVE_SERVER_SERVICE_WIRE_H_
#define DELTASERVE_SERVER_SERVICE_WIRE_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/status.h"
#include "deltaserve/v1/inference.pb.h"
#include "google/protobuf/message.h"
#include "server/api/model_info.h"
#include "server/api/result.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {

// The service takes its requests unparsed: gRPC would answer a message that is too long or whose
// text is not UTF-8 with a status that blames the server. INVALID_ARGUMENT: longer than
// `max_bytes`, malformed, or a text field, which it names, is not UTF-8.
absl::Status ParseRequest(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                          google::protobuf::Message* request);

grpc::ByteBuffer Serialize(const google::protobuf::Message& message);

v1::Usage ToProto(const Usage& usage);
v1::FinishReason ToProto(FinishReason reason);
v1::Model ToProto(const ModelInfo& info, bool has_tokenizer);

// `tokenizer` may be null: pieces are then empty.
v1::TokenLogprob ToProto(int32_t id, float logprob, absl::Span<const Alternative> top,
                         const Tokenizer* tokenizer);

// `ids` are those of the scores.
v1::ScoredTokens ToProto(absl::Span<const int32_t> ids, const TokenScores& scores,
                         const Tokenizer* tokenizer);

v1::RewriteTrace ToProto(const RewriteTrace& trace);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_WIRE_H_
