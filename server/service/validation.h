#ifndef DELTASERVE_SERVER_SERVICE_VALIDATION_H_
#define DELTASERVE_SERVER_SERVICE_VALIDATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deltaserve/v1/inference.pb.h"
#include "server/api/request.h"
#include "server/service/model_registry.h"

namespace deltaserve {

// What one request may ask of the server, whatever the model.
struct RequestLimits {
  int32_t max_request_bytes = 4 << 20;
  int32_t max_continuations = 256;
  int32_t max_trace_tokens = 4096;
};

// How a sample's tokens become text.
struct TextOptions {
  std::vector<std::string> stop;  // none empty
  bool include_stop = false;
};

struct ValidGenerate {
  GenerateRequest request;  // all but `id` and `deadline`
  TextOptions text;
};

// The table of docs/api.md: defaults filled in, ranges checked, text encoded. INVALID_ARGUMENT
// names the field, the value and the limit. `seed` is for requests that bring none.
absl::StatusOr<ValidGenerate> Validate(const v1::GenerateRequest& request, const ServedModel& model,
                                       uint64_t seed);

// All but `id` and `deadline`.
absl::StatusOr<ScoreRequest> Validate(const v1::ScoreRequest& request, const ServedModel& model,
                                      const RequestLimits& limits);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_VALIDATION_H_
