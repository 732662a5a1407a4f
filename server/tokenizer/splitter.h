#ifndef DELTASERVE_SERVER_TOKENIZER_SPLITTER_H_
#define DELTASERVE_SERVER_TOKENIZER_SPLITTER_H_

#include <memory>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

// Cuts text into the pieces that GPT-2 encodes one by one, by its pattern (OpenAI's encoder.py):
// contractions, words, numbers and runs of anything else, each with the space before it, and runs
// of white space. Immutable; any number of threads may use one.
class Splitter {
 public:
  static absl::StatusOr<Splitter> Create();

  // Calls `visit` with the pieces of `text` in order; together they are `text`. Takes time linear
  // in `text`, which must be valid UTF-8. INTERNAL when the pattern runs into a limit of PCRE2.
  absl::Status Split(std::string_view text, absl::FunctionRef<void(std::string_view)> visit) const;

 private:
  struct Program;  // the compiled pattern
  struct Free {
    void operator()(Program* program) const;
  };

  explicit Splitter(std::unique_ptr<Program, Free> program) : program_(std::move(program)) {}

  std::unique_ptr<Program, Free> program_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_SPLITTER_H_
