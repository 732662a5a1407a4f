#ifndef DELTASERVE_TESTS_SUPPORT_LOAD_LOAD_DRIVER_H_
#define DELTASERVE_TESTS_SUPPORT_LOAD_LOAD_DRIVER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace deltaserve {

struct LoadOptions {
  std::string address;  // host:port
  std::string model;
  uint64_t seed = 1;    // of the lengths, ids and fates below
  int num_calls = 200;  // all of them at once

  // Token ids are drawn from [0, vocab_size), lengths evenly from 1 to their maximum.
  int vocab_size = 0;
  int max_prompt_tokens = 64;
  int max_new_tokens = 64;

  // Shares of the calls: Score calls among them, and streams that are cancelled after a random
  // number of chunks or have a deadline between 1 ms and `longest_deadline`.
  double scores = 0.1;
  double cancelled = 1.0 / 6;
  double short_deadline = 1.0 / 6;
  absl::Duration longest_deadline = absl::Milliseconds(200);

  // Calls that are still open after this are cancelled, which counts as a violation.
  absl::Duration limit = absl::Seconds(120);
};

enum class CallFate : uint8_t { kToTheEnd, kCancelled, kShortDeadline };

struct CallRecord {
  bool is_score = false;
  CallFate fate = CallFate::kToTheEnd;
  int times_ended = 0;  // terminal statuses seen; anything but 1 is a violation
  absl::Status status = absl::UnknownError("not ended");
  int chunks = 0;
  int64_t tokens = 0;  // generated, as they arrived
};

struct LoadReport {
  std::vector<CallRecord> calls;
  std::map<absl::StatusCode, int> by_status;
  int64_t tokens = 0;
  absl::Duration elapsed;
  // What broke a promise, one line each; empty is good. A call ends exactly once; with OK, or with
  // what its fate explains. A stream's first message names the request, its last carries the usage
  // and nothing follows; a sample says nothing after its finish reason. A stream that ended OK has
  // all tokens it asked for (they ask to pass over the end of sequence) and says LENGTH. A Score
  // has a finite value for every token.
  std::vector<std::string> violations;
};

// Blocks until every call has ended. Uses gRPC's callback API: a few threads serve all calls.
LoadReport RunLoad(const LoadOptions& options);

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_LOAD_LOAD_DRIVER_H_
