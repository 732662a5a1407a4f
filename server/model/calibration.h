#ifndef DELTASERVE_SERVER_MODEL_CALIBRATION_H_
#define DELTASERVE_SERVER_MODEL_CALIBRATION_H_

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/api/clock.h"
#include "server/model/cost_model.h"

namespace deltaserve {

// Measures what a device can do, by its matrix product in `dtype`, the op that steps are made of:
// the rate at which it reads weights for one row, one small weight after the other, and its FLOPs
// for as many rows as it likes best. Takes a fraction of a second, and memory for weights that no
// cache holds, which it gives back.
absl::StatusOr<DevicePeaks> MeasurePeaks(Backend& backend, DType dtype, const Clock& clock);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_CALIBRATION_H_
