#ifndef DELTASERVE_CLIENT_CPP_GENERATION_OBSERVER_H_
#define DELTASERVE_CLIENT_CPP_GENERATION_OBSERVER_H_

#include "absl/status/status.h"
#include "deltaserve/v1/inference.pb.h"

namespace deltaserve {

// Is told of a generation as it comes, on threads of gRPC, which it must not block: never two calls
// at once, each call sees what the one before it did, and after OnEnd there is none.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;

  virtual void OnChunk(const v1::GenerateChunk& chunk) = 0;

  // The last, of every generation: how it ended, with the payloads of call_status.h. The observer
  // may be destroyed here.
  virtual void OnEnd(const absl::Status& status) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_CLIENT_CPP_GENERATION_OBSERVER_H_
