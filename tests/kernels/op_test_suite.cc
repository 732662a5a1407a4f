#include "tests/kernels/op_test_suite.h"

#include "kernels/reference/reference_backend.h"

namespace deltaserve {

TestDevice OpTest::Device() const {
  return TestDevice(GetParam().make_backend(), GetParam().dtype, GetParam().dtype);
}

TestDevice OpTest::ReferenceDevice() const {
  return TestDevice(MakeReferenceBackend(), DType::kF32, GetParam().dtype);
}

}  // namespace deltaserve
