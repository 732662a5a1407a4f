# What lets ThreadSanitizer see through libraries that were not built for it, in every program.
add_library(deltaserve_tsan OBJECT
  tests/support/tsan/abseil_order.cc tests/support/tsan/grpc_callbacks.cc
  tests/support/tsan/grpc_tags.cc)
target_link_libraries(deltaserve_tsan PRIVATE absl::status absl::synchronization)
target_link_libraries(deltaserve_options INTERFACE
  $<TARGET_OBJECTS:deltaserve_tsan> absl::status absl::synchronization)
