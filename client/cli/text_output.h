// What `deltactl` prints for people.
#ifndef DELTASERVE_CLIENT_CLI_TEXT_OUTPUT_H_
#define DELTASERVE_CLIENT_CLI_TEXT_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "deltaserve/v1/inference.pb.h"

namespace deltaserve::cli {

// Shows a generation as it comes: the first sample live, each further one from where those before
// it have ended, so that samples never mix. Samples of a model without a tokenizer show their ids.
class GenerationPrinter {
 public:
  // With several samples each begins with a line that numbers it.
  GenerationPrinter(bool numbered, std::ostream& out) : numbered_(numbered), out_(out) {}

  // Call after every chunk with all that has come so far (AppendChunk).
  void Show(const v1::GenerateResponse& so_far);
  // Call at the end, good or bad: ends the line and shows what is still held back, as well as
  // log-probabilities where there are any.
  void Finish(const v1::GenerateResponse& response);

 private:
  void ShowSample(const v1::Sample& sample);
  void EndSample(const v1::Sample& sample);

  const bool numbered_;
  std::ostream& out_;
  int current_ = 0;         // the sample being shown
  size_t shown_bytes_ = 0;  // of its text
  bool has_begun_ = false;
};

void PrintScore(const v1::ScoreResponse& response, std::ostream& out);
void PrintTokens(const v1::TokenizeResponse& response, std::ostream& out);
void PrintModels(const std::vector<v1::Model>& models, std::ostream& out);

// One line about how a call ended: finish reasons, tokens, times, seed.
std::string Summary(const v1::GenerateResponse& response);
std::string Summary(const v1::Usage& usage);

// "CODE: message", then what is known of the call beside it, one line each.
void PrintError(const absl::Status& status, std::ostream& out);

}  // namespace deltaserve::cli

#endif  // DELTASERVE_CLIENT_CLI_TEXT_OUTPUT_H_
