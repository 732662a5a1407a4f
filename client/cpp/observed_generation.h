#ifndef DELTASERVE_CLIENT_CPP_OBSERVED_GENERATION_H_
#define DELTASERVE_CLIENT_CPP_OBSERVED_GENERATION_H_

#include "client/cpp/call_options.h"
#include "client/cpp/generation_observer.h"
#include "deltaserve/v1/inference.grpc.pb.h"

namespace deltaserve {

// Starts a GenerateStream that owns itself and ends with a call of observer->OnEnd. Internal to
// this library.
void StartObservedGeneration(v1::InferenceService::StubInterface& stub,
                             const v1::GenerateRequest& request, GenerationObserver* observer,
                             const CallOptions& options);

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_OBSERVED_GENERATION_H_
