#ifndef DELTASERVE_SERVER_SERVICE_SAMPLE_OUTPUT_H_
#define DELTASERVE_SERVER_SERVICE_SAMPLE_OUTPUT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "deltaserve/v1/inference.pb.h"
#include "server/api/request.h"
#include "server/api/result.h"
#include "server/service/validation.h"
#include "server/tokenizer/stop_matcher.h"
#include "server/tokenizer/streaming_decoder.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {

// How one request's tokens become its samples; shared by them.
struct OutputFormat {
  OutputFormat(const ServedModel& model, const GenerateRequest& request, TextOptions text);

  const Tokenizer* tokenizer;  // null: no text
  TextOptions text;
  StopMatcher matcher;  // as new; lets matches out whole
  int64_t min_tokens;
  bool logprobs;
  // Tokens that end a sample and do not show in its text.
  std::vector<int32_t> hidden_ids;
};

// One sample on its way out: text is decoded and searched for stop strings as tokens come, and
// gathers until someone takes it. One thread at a time.
class SampleOutput {
 public:
  // `format` must outlive it.
  SampleOutput(const OutputFormat* format, int32_t index);

  // Whether the token's text completes a stop string. That ends the sample: what comes later is
  // dropped.
  bool Push(const SampledToken& token);

  // No more tokens come.
  void Finish(FinishReason reason);

  bool finished() const { return finished_; }

  // Something was added since the last Take.
  bool HasNews() const { return has_news_; }

  // What is new: text, tokens and, once, the finish reason.
  v1::Sample Take();

 private:
  void Search(std::string_view text, bool may_stop);
  void End(FinishReason reason);

  const OutputFormat* const format_;
  const int32_t index_;
  StreamingDecoder decoder_;
  StopMatcher matcher_;
  size_t held_bytes_ = 0;  // what the matcher holds back
  int64_t num_tokens_ = 0;
  bool finished_ = false;
  bool has_news_ = false;
  v1::Sample news_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_SAMPLE_OUTPUT_H_
