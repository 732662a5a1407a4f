# Everything comes from Debian 12's packages; deploy/install_packages.sh installs them.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(absl REQUIRED CONFIG)
find_package(Protobuf REQUIRED)
find_package(gRPC REQUIRED CONFIG)
find_package(prometheus-cpp REQUIRED CONFIG)
find_package(spdlog REQUIRED CONFIG)
find_package(PkgConfig REQUIRED)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)

# oneDNN's CMake config asks for OpenCL, which nothing here uses.
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(dnnl INTERFACE IMPORTED)
target_link_libraries(dnnl INTERFACE ${DNNL_LIBRARY})

if(DELTASERVE_BUILD_TESTS)
  find_package(GTest REQUIRED CONFIG)
endif()
if(DELTASERVE_BUILD_BENCH)
  find_package(benchmark REQUIRED CONFIG)
endif()
