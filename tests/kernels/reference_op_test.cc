// The suite on the oracle itself: trivial as a comparison, not as a test of independence.
#include "kernels/reference/reference_backend.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {

INSTANTIATE_TEST_SUITE_P(Reference, OpTest,
                         testing::Values(OpTestParam{"fp32", MakeReferenceBackend, DType::kF32}),
                         OpTestName);

}  // namespace deltaserve
