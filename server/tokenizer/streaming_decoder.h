#ifndef DELTASERVE_SERVER_TOKENIZER_STREAMING_DECODER_H_
#define DELTASERVE_SERVER_TOKENIZER_STREAMING_DECODER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {

// Turns one sequence's token ids into text as they come: every answer is valid UTF-8, and a
// character whose bytes span tokens appears once it is whole. Ill-formed bytes become U+FFFD, one
// per maximal subpart, as in Python's errors="replace". The answers, with Flush() at the end, add
// up to the same treatment of all the bytes at once. One thread at a time.
class StreamingDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  explicit StreamingDecoder(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  // The text that `id` completes, maybe none. INVALID_ARGUMENT, leaving the decoder as it was,
  // when `id` is outside the vocabulary.
  absl::StatusOr<std::string> Push(int32_t id);

  // The end of the sequence: U+FFFD if it stops within a character, else nothing. The decoder is
  // then as new.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;  // the first bytes of a character, at most 3
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TOKENIZER_STREAMING_DECODER_H_
