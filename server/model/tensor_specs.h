// Which tensors a model consists of.
#ifndef DELTASERVE_SERVER_MODEL_TENSOR_SPECS_H_
#define DELTASERVE_SERVER_MODEL_TENSOR_SPECS_H_

#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "server/model/config.h"

namespace deltaserve {

// The embedding, which is the output head too.
inline constexpr char kEmbeddingName[] = "transformer.wte.weight";

struct TensorSpec {
  std::string name;
  Shape shape;
};

// The tensors of this configuration (FORMAT.md 2), in the order of a forward pass. The optional
// duplicate `lm_head.weight` is not among them.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_TENSOR_SPECS_H_
