#ifndef DELTASERVE_SERVER_API_TOKEN_SINK_H_
#define DELTASERVE_SERVER_API_TOKEN_SINK_H_

#include "absl/types/span.h"
#include "server/api/result.h"

namespace deltaserve {

// Receives one request's tokens. Called on the engine thread, one call at a time: an implementation
// must neither block nor do work that grows with the text (detokenising, say); it takes the values
// and returns. The queue holds it until OnDone has returned.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // New tokens of sample 0..n-1.
  virtual void OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) = 0;
  // No more tokens of this sample come. Called once for each sample of a request that ends OK.
  virtual void OnSampleDone(int32_t sample, FinishReason reason) = 0;
  // The end: called exactly once for every accepted request, and nothing after it.
  virtual void OnDone(RequestOutcome outcome) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_TOKEN_SINK_H_
