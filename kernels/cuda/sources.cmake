# The backend's sources, which tests/cuda_emulation compiles once more.
set(cuda_sources graph_cache.cc rows.cu stream.cc)
