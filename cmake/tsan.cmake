# What lets ThreadSanitizer see through libraries that were not built for it, in every program.
add_library(deltaserve_abseil_locks OBJECT tests/support/tsan/abseil_locks.cc)
target_link_libraries(deltaserve_abseil_locks PRIVATE absl::synchronization)
target_link_libraries(deltaserve_options INTERFACE
  $<TARGET_OBJECTS:deltaserve_abseil_locks> absl::synchronization)
