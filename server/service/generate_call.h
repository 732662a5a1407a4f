// The reactors of Generate and GenerateStream. Each is made by a handler, keeps itself alive
// through its mailbox, and goes when gRPC has done with it.
#ifndef DELTASERVE_SERVER_SERVICE_GENERATE_CALL_H_
#define DELTASERVE_SERVER_SERVICE_GENERATE_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/service/call_record.h"

namespace deltaserve {

grpc::ServerUnaryReactor* StartGenerate(const ServiceContext* context,
                                        grpc::CallbackServerContext* grpc_context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response);

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerateStream(
    const ServiceContext* context, grpc::CallbackServerContext* grpc_context,
    const grpc::ByteBuffer* request);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_GENERATE_CALL_H_
