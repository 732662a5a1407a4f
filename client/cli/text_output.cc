#include "client/cli/text_output.h"

#include <algorithm>
#include <cmath>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/json_output.h"
#include "client/cpp/call_status.h"

namespace deltaserve::cli {
namespace {

// In quotes, with control characters escaped, as in JSON.
std::string Quoted(const std::string& bytes) { return Dump(Json(bytes)); }

void PrintTokenLine(const v1::TokenLogprob& token, std::ostream& out) {
  out << absl::StrFormat("%8d %10.4f  %s", token.id(), token.logprob(), Quoted(token.piece()));
  const char* separator = "   | ";
  for (const v1::Alternative& alternative : token.top()) {
    out << separator
        << absl::StrFormat("%d %s %.4f", alternative.id(), Quoted(alternative.piece()),
                           alternative.logprob());
    separator = ", ";
  }
  out << '\n';
}

void PrintScoredTokens(const v1::ScoredTokens& scores, std::ostream& out) {
  for (const v1::TokenLogprob& token : scores.tokens()) PrintTokenLine(token, out);
  out << absl::StrFormat("loglik %.4f over %d tokens", scores.loglik(), scores.tokens_size());
  if (scores.tokens_size() > 0) {
    out << absl::StrFormat(", perplexity %.4f", std::exp(-scores.loglik() / scores.tokens_size()));
  }
  out << (scores.is_greedy() ? ", greedy\n" : "\n");
}

// Left-aligned columns as wide as their widest cell.
void PrintTable(const std::vector<std::vector<std::string>>& rows, std::ostream& out) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppendFormat(&line, "%-*s", static_cast<int>(widths[i] + 2), row[i]);
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

}  // namespace

void GenerationPrinter::Show(const v1::GenerateResponse& so_far) {
  while (current_ < so_far.samples_size()) {
    const v1::Sample& sample = so_far.samples(current_);
    ShowSample(sample);
    if (sample.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) break;
    EndSample(sample);
  }
  out_.flush();
}

void GenerationPrinter::Finish(const v1::GenerateResponse& response) {
  while (current_ < response.samples_size()) {
    ShowSample(response.samples(current_));
    EndSample(response.samples(current_));
  }
  out_.flush();
}

void GenerationPrinter::ShowSample(const v1::Sample& sample) {
  if (!has_begun_ && numbered_) out_ << "--- sample " << sample.index() << '\n';
  has_begun_ = true;
  out_ << sample.text().substr(shown_bytes_);
  shown_bytes_ = sample.text().size();
}

void GenerationPrinter::EndSample(const v1::Sample& sample) {
  if (sample.text().empty()) out_ << absl::StrJoin(sample.token_ids(), " ");
  out_ << '\n';
  for (const v1::TokenLogprob& token : sample.logprobs()) PrintTokenLine(token, out_);
  ++current_;
  shown_bytes_ = 0;
  has_begun_ = false;
}

void PrintScore(const v1::ScoreResponse& response, std::ostream& out) {
  if (response.continuations_size() == 0) PrintScoredTokens(response.sequence(), out);
  for (int i = 0; i < response.continuations_size(); ++i) {
    out << "--- continuation " << i << '\n';
    PrintScoredTokens(response.continuations(i), out);
  }
}

void PrintTokens(const v1::TokenizeResponse& response, std::ostream& out) {
  for (int i = 0; i < response.token_ids_size(); ++i) {
    out << absl::StrFormat("%8d", response.token_ids(i));
    if (i < response.pieces_size()) out << "  " << Quoted(response.pieces(i));
    out << '\n';
  }
}

void PrintModels(const std::vector<v1::Model>& models, std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "RESIDUAL", "D_V", "PARAMETERS", "LAYERS",
                                                 "HIDDEN", "HEADS", "VOCABULARY", "CONTEXT",
                                                 "DTYPE", "DEVICE", "TOKENIZER"}};
  for (const v1::Model& model : models) {
    rows.push_back({model.name(), model.residual(), absl::StrCat(model.value_channels()),
                    absl::StrFormat("%.1f M", model.num_parameters() / 1e6),
                    absl::StrCat(model.num_layers()), absl::StrCat(model.hidden_size()),
                    absl::StrCat(model.num_heads()), absl::StrCat(model.vocab_size()),
                    absl::StrCat(model.context_length()), model.dtype(), model.device(),
                    model.has_tokenizer() ? "yes" : "no"});
  }
  PrintTable(rows, out);
}

namespace {

// " (prefill A, decode B)": what `value` says of each phase the device worked in; "" for a single
// one.
std::string PhaseBreakdown(const v1::Usage& usage,
                           absl::FunctionRef<std::string(const v1::PhaseUsage&)> value) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, const v1::PhaseUsage& phase) {
    if (phase.device_seconds() > 0) parts.push_back(absl::StrCat(name, " ", value(phase)));
  };
  add("prefill", usage.prefill());
  add("decode", usage.decode());
  add("score", usage.score());
  return parts.size() < 2 ? "" : absl::StrCat(" (", absl::StrJoin(parts, ", "), ")");
}

// "; device 3.1 ms (prefill 1.0, decode 2.1), 12.5 J; 2.2e-06 USD (prefill 7e-07, decode 1.5e-06)",
// as far as it is known.
std::string DeviceSummary(const v1::Usage& usage) {
  std::string line;
  if (usage.device_seconds() > 0) {
    absl::StrAppendFormat(&line, "; device %.1f ms%s", usage.device_seconds() * 1e3,
                          PhaseBreakdown(usage, [](const v1::PhaseUsage& phase) {
                            return absl::StrFormat("%.1f", phase.device_seconds() * 1e3);
                          }));
  }
  if (usage.has_energy_joules()) absl::StrAppendFormat(&line, ", %.3g J", usage.energy_joules());
  if (usage.has_cost_usd()) {
    absl::StrAppendFormat(&line, "; %.3g USD%s", usage.cost_usd(),
                          PhaseBreakdown(usage, [](const v1::PhaseUsage& phase) {
                            return absl::StrFormat("%.3g", phase.cost_usd());
                          }));
  }
  return line;
}

}  // namespace

std::string Summary(const v1::Usage& usage) {
  std::string line = absl::StrFormat("%d prompt", usage.prompt_tokens());
  if (usage.cached_prompt_tokens() > 0) {
    absl::StrAppendFormat(&line, " (%d cached)", usage.cached_prompt_tokens());
  }
  if (usage.scored_tokens() > 0) absl::StrAppendFormat(&line, ", %d scored", usage.scored_tokens());
  if (usage.completion_tokens() > 0) {
    absl::StrAppendFormat(&line, ", %d generated", usage.completion_tokens());
  }
  absl::StrAppendFormat(&line, " tokens; queued %.1f ms", usage.queue_seconds() * 1e3);
  if (usage.time_to_first_token_seconds() > 0) {
    absl::StrAppendFormat(&line, ", first token %.1f ms",
                          usage.time_to_first_token_seconds() * 1e3);
  }
  absl::StrAppendFormat(&line, ", total %.1f ms", usage.total_seconds() * 1e3);
  return line + DeviceSummary(usage);
}

std::string Summary(const v1::GenerateResponse& response) {
  const std::string reasons =
      absl::StrJoin(response.samples(), ", ", [](std::string* out, const v1::Sample& sample) {
        absl::StrAppend(out, v1::FinishReason_Name(sample.finish_reason()));
      });
  return absl::StrCat(reasons, "; ", Summary(response.usage()), "; seed ", response.seed());
}

void PrintError(const absl::Status& status, std::ostream& out) {
  out << "deltactl: " << absl::StatusCodeToString(status.code()) << ": " << status.message()
      << '\n';
  if (const std::string id = RequestIdOf(status); !id.empty()) out << "request id: " << id << '\n';
  if (const auto delay = RetryDelayOf(status)) {
    out << "try again in " << absl::FormatDuration(*delay) << '\n';
  }
  if (const auto usage = UsageOf(status)) out << Summary(*usage) << '\n';
}

}  // namespace deltaserve::cli
