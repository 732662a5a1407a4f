# The backend's sources, which tests/cuda_emulation compiles once more.
set(cuda_sources
  attention.cu boundary.cu cublaslt_product.cc cuda_backend.cc embed.cu graph_cache.cc linear.cc
  memory.cc output.cu plain_product.cu rows.cu stream.cc)
