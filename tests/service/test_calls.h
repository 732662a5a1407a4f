// Calls of a client of the TestServer.
#ifndef DELTASERVE_TESTS_SERVICE_TEST_CALLS_H_
#define DELTASERVE_TESTS_SERVICE_TEST_CALLS_H_

#include <grpcpp/client_context.h>

#include <future>
#include <string>
#include <utility>

#include "tests/service/test_server.h"

namespace deltaserve {

inline v1::GenerateRequest GenerateText(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  return request;
}

// A unary call on a thread of its own, so that the test can be the engine meanwhile.
template <typename Request, typename Response,
          grpc::Status (v1::InferenceService::Stub::*kMethod)(grpc::ClientContext*, const Request&,
                                                              Response*)>
struct PendingCall {
  PendingCall(TestServer& server, Request request)
      : status(std::async(std::launch::async, [this, &server, request = std::move(request)] {
          return (server.stub().*kMethod)(&context, request, &response);
        })) {}

  grpc::ClientContext context;
  Response response;
  std::future<grpc::Status> status;
};

using PendingGenerate =
    PendingCall<v1::GenerateRequest, v1::GenerateResponse, &v1::InferenceService::Stub::Generate>;
using PendingScore =
    PendingCall<v1::ScoreRequest, v1::ScoreResponse, &v1::InferenceService::Stub::Score>;

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SERVICE_TEST_CALLS_H_
