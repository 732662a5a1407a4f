// Early return of errors, where a chain of loads would drown in checks.
#ifndef DELTASERVE_SERVER_MODEL_ASSIGN_OR_RETURN_H_
#define DELTASERVE_SERVER_MODEL_ASSIGN_OR_RETURN_H_

#include <utility>

#define DELTASERVE_CONCAT_INNER(a, b) a##b
#define DELTASERVE_CONCAT(a, b) DELTASERVE_CONCAT_INNER(a, b)

// ASSIGN_OR_RETURN(auto x, F()): x = *F(), or return its status.
#define ASSIGN_OR_RETURN(lhs, expression) \
  ASSIGN_OR_RETURN_IMPL(DELTASERVE_CONCAT(status_or_, __LINE__), lhs, expression)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expression) \
  auto result = (expression);                          \
  if (!result.ok()) return result.status();            \
  lhs = *std::move(result)

#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#endif  // DELTASERVE_SERVER_MODEL_ASSIGN_OR_RETURN_H_
