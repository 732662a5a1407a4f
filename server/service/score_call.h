#ifndef DELTASERVE_SERVER_SERVICE_SCORE_CALL_H_
#define DELTASERVE_SERVER_SERVICE_SCORE_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/service/call_record.h"

namespace deltaserve {

// The reactor of Score; it lives as those of generate_call.h do.
grpc::ServerUnaryReactor* StartScore(const ServiceContext* context,
                                     grpc::CallbackServerContext* grpc_context,
                                     const grpc::ByteBuffer* request, grpc::ByteBuffer* response);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_SCORE_CALL_H_
