# Warnings, sanitizers and the compiler cache, for every target of the project.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(deltaserve_options INTERFACE)
target_compile_options(deltaserve_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror>)
target_include_directories(deltaserve_options INTERFACE ${PROJECT_SOURCE_DIR})
if(DELTASERVE_SANITIZE)
  add_compile_options(-fsanitize=${DELTASERVE_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${DELTASERVE_SANITIZE})
endif()
