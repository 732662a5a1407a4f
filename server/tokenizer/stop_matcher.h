#ifndef DELTASERVE_SERVER_TOKENIZER_STOP_MATCHER_H_
#define DELTASERVE_SERVER_TOKENIZER_STOP_MATCHER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

// Ends a stream of text at the first stop string. Text that may turn out to be the beginning of a
// stop string is held back, so no part of one is ever let out, however it is spread over the
// pieces. The match is the one that is complete first; of several that end at the same place, the
// longest. Pieces of whole characters give answers of whole characters when the stop strings are
// valid UTF-8. Takes O(stops) time per byte, amortised. One thread at a time.
class StopMatcher {
 public:
  static constexpr size_t kMaxStops = 16;

  // With `include_stop` the text goes to the end of the match, else to its beginning. No stop
  // strings: all text passes at once. INVALID_ARGUMENT names an empty one, or their number when it
  // is above kMaxStops.
  static absl::StatusOr<StopMatcher> Create(std::vector<std::string> stops, bool include_stop);

  // The text, of this piece and of what was held back, that can be let out. What comes after a
  // match is dropped.
  std::string Push(std::string_view piece);

  // The end of the stream: what is still held back.
  std::string Flush();

  // The index of the stop string that was matched.
  std::optional<size_t> matched() const { return matched_; }

 private:
  // Knuth, Morris and Pratt's automaton of one stop string.
  struct Pattern {
    explicit Pattern(std::string stop);

    // Takes the next byte of the text; whether it completes the stop string.
    bool Advance(char byte);

    std::string stop;
    // fallback[n]: the longest border (proper prefix that is a suffix) of the first n + 1 bytes.
    std::vector<size_t> fallback;
    size_t length = 0;  // the longest prefix of `stop` that the text so far ends with
  };

  StopMatcher(std::vector<Pattern> patterns, bool include_stop);

  std::vector<Pattern> patterns_;
  bool include_stop_;
  std::string held_;
  std::optional<size_t> matched_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_STOP_MATCHER_H_
