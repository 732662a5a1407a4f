#include "server/service/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/tokenizer/stop_matcher.h"

namespace deltaserve {
namespace {

constexpr int32_t kDefaultMaxTokens = 128;
constexpr int32_t kMaxAlternatives = 20;
constexpr int32_t kMaxSamples = 16;
constexpr int32_t kMaxStops = StopMatcher::kMaxStops;
constexpr float kMaxLogitBias = 100;
constexpr int32_t kInt32Max = std::numeric_limits<int32_t>::max();

template <typename... Parts>
absl::Status Invalid(absl::string_view field, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", parts...));
}

// Refuses NaN as well, which no comparison holds for.
template <typename T>
absl::Status CheckRange(absl::string_view field, T value, T least, T most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return most == std::numeric_limits<T>::max()
             ? Invalid(field, value, " is less than ", least)
             : Invalid(field, value, " is outside [", least, ", ", most, "]");
}

absl::Status CheckIds(absl::string_view field, absl::Span<const int32_t> ids,
                      const ModelInfo& info) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= info.vocab_size) {
      return Invalid(absl::StrCat(field, "[", i, "]"), ids[i],
                     " is outside the vocabulary, whose ids are below ", info.vocab_size);
    }
  }
  return absl::OkStatus();
}

// The tokens of a oneof of `text` and `token_ids`, which prompts, contexts and continuations are.
// Not empty.
template <typename Content>
absl::StatusOr<std::vector<int32_t>> TokensOf(absl::string_view field, const Content& content,
                                              const ServedModel& model) {
  std::vector<int32_t> ids;
  if (content.has_token_ids()) {
    const auto& given = content.token_ids().ids();
    ids.assign(given.begin(), given.end());
  } else if (content.has_text()) {
    if (model.tokenizer == nullptr) {
      return Invalid(field, "model ", model.info.name,
                     " has no tokenizer and takes token_ids only, not text");
    }
    absl::StatusOr<std::vector<int32_t>> encoded = model.tokenizer->Encode(content.text());
    if (!encoded.ok()) return Invalid(absl::StrCat(field, ".text"), encoded.status().message());
    ids = *std::move(encoded);
  }
  if (ids.empty()) return Invalid(field, "empty; give text or token_ids");
  if (absl::Status status = CheckIds(absl::StrCat(field, ".token_ids"), ids, model.info);
      !status.ok()) {
    return status;
  }
  return ids;
}

absl::Status CheckFits(absl::string_view field, int64_t num_tokens, const ModelInfo& info) {
  if (num_tokens <= info.max_sequence_tokens) return absl::OkStatus();
  return Invalid(field, num_tokens, " tokens; a sequence of model ", info.name, " can hold ",
                 info.max_sequence_tokens);
}

absl::Status CheckSampling(const SamplingParams& params) {
  absl::Status status = CheckRange("temperature", params.temperature, 0.f, 2.f);
  status.Update(CheckRange("top_k", params.top_k, 0, kInt32Max));
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    status.Update(Invalid("top_p", params.top_p, " is outside (0, 1]"));
  }
  status.Update(CheckRange("min_p", params.min_p, 0.f, 1.f));
  status.Update(CheckRange("presence_penalty", params.presence_penalty, -2.f, 2.f));
  status.Update(CheckRange("frequency_penalty", params.frequency_penalty, -2.f, 2.f));
  if (!(params.repetition_penalty > 0 && std::isfinite(params.repetition_penalty))) {
    status.Update(Invalid("repetition_penalty", params.repetition_penalty,
                          " is not a finite number above 0"));
  }
  return status;
}

absl::StatusOr<SamplingParams> SamplingOf(const v1::GenerateRequest& request, const ModelInfo& info,
                                          uint64_t seed) {
  SamplingParams params;
  if (request.has_temperature()) params.temperature = request.temperature();
  if (request.has_top_k()) params.top_k = request.top_k();
  if (request.has_top_p()) params.top_p = request.top_p();
  if (request.has_min_p()) params.min_p = request.min_p();
  if (request.has_presence_penalty()) params.presence_penalty = request.presence_penalty();
  if (request.has_frequency_penalty()) params.frequency_penalty = request.frequency_penalty();
  if (request.has_repetition_penalty()) params.repetition_penalty = request.repetition_penalty();
  params.seed = request.has_seed() ? request.seed() : seed;
  if (absl::Status status = CheckSampling(params); !status.ok()) return status;

  for (const auto& [id, bias] : request.logit_bias()) {
    if (id < 0 || id >= info.vocab_size) {
      return Invalid("logit_bias", id, " is outside the vocabulary, whose ids are below ",
                     info.vocab_size);
    }
    if (absl::Status status =
            CheckRange(absl::StrCat("logit_bias[", id, "]"), bias, -kMaxLogitBias, kMaxLogitBias);
        !status.ok()) {
      return status;
    }
    params.logit_bias.emplace_back(id, bias);
  }
  // A map's order is not defined.
  std::sort(params.logit_bias.begin(), params.logit_bias.end());
  return params;
}

absl::Status CheckStops(const v1::GenerateRequest& request, const ServedModel& model) {
  if (request.stop_size() > kMaxStops) {
    return Invalid("stop", request.stop_size(), " strings; the limit is ", kMaxStops);
  }
  if (request.stop_size() > 0 && model.tokenizer == nullptr) {
    return Invalid("stop", "model ", model.info.name,
                   " has no tokenizer, so its output has no text; use stop_token_ids");
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    if (request.stop(i).empty()) return Invalid(absl::StrCat("stop[", i, "]"), "empty");
  }
  if (request.stop_token_ids_size() > kMaxStops) {
    return Invalid("stop_token_ids", request.stop_token_ids_size(), " ids; the limit is ",
                   kMaxStops);
  }
  return CheckIds("stop_token_ids", request.stop_token_ids(), model.info);
}

absl::Status CheckSamples(const v1::GenerateRequest& request, float temperature,
                          const ModelInfo& info) {
  if (!request.has_n()) return absl::OkStatus();
  if (absl::Status status = CheckRange("n", request.n(), 1, kMaxSamples); !status.ok()) {
    return status;
  }
  if (request.n() > info.max_sequences) {
    return Invalid("n", request.n(), "; model ", info.name, " runs at most ", info.max_sequences,
                   " sequences at once");
  }
  if (request.n() > 1 && temperature == 0) {
    return Invalid("n", request.n(),
                   " samples of a greedy request would be the same; the limit is 1");
  }
  return absl::OkStatus();
}

// Sets max_tokens and min_tokens of `out`, whose prompt is known.
absl::Status SetLengths(const v1::GenerateRequest& request, const ModelInfo& info,
                        GenerateRequest* out) {
  const auto prompt_tokens = static_cast<int64_t>(out->prompt.size());
  const int64_t room = info.max_sequence_tokens - prompt_tokens;
  if (room < 1) {
    return Invalid("prompt", prompt_tokens,
                   " tokens leave no room to generate; a sequence of model ", info.name,
                   " can hold ", info.max_sequence_tokens);
  }
  out->max_tokens =
      request.has_max_tokens() ? request.max_tokens() : std::min<int64_t>(kDefaultMaxTokens, room);
  if (out->max_tokens > room) {
    return Invalid("max_tokens", out->max_tokens, " after a prompt of ", prompt_tokens,
                   " tokens; a sequence of model ", info.name, " can hold ",
                   info.max_sequence_tokens);
  }
  out->min_tokens = request.min_tokens();
  if (out->min_tokens > out->max_tokens) {
    return Invalid("min_tokens", out->min_tokens, " is more than max_tokens, ", out->max_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ValidGenerate> Validate(const v1::GenerateRequest& request, const ServedModel& model,
                                       uint64_t seed) {
  const ModelInfo& info = model.info;
  ValidGenerate out;
  out.request.model = info.name;

  absl::StatusOr<SamplingParams> sampling = SamplingOf(request, info, seed);
  if (!sampling.ok()) return sampling.status();
  out.request.sampling = *std::move(sampling);

  absl::Status status = CheckStops(request, model);
  status.Update(CheckSamples(request, out.request.sampling.temperature, info));
  if (request.has_logprobs()) {
    status.Update(CheckRange("logprobs", request.logprobs(), 0, kMaxAlternatives));
    out.request.logprobs =
        static_cast<int32_t>(std::min<int64_t>(request.logprobs(), info.vocab_size));
  }
  if (request.has_max_tokens()) {
    status.Update(CheckRange("max_tokens", request.max_tokens(), 1, kInt32Max));
  }
  status.Update(CheckRange("min_tokens", request.min_tokens(), 0, kInt32Max));
  if (!status.ok()) return status;

  out.request.stop_token_ids.assign(request.stop_token_ids().begin(),
                                    request.stop_token_ids().end());
  out.request.ignore_eos = request.ignore_eos();
  out.request.n = request.has_n() ? request.n() : 1;
  out.text.stop.assign(request.stop().begin(), request.stop().end());
  out.text.include_stop = request.include_stop();

  absl::StatusOr<std::vector<int32_t>> prompt = TokensOf("prompt", request, model);
  if (!prompt.ok()) return prompt.status();
  out.request.prompt = *std::move(prompt);
  if (status = SetLengths(request, info, &out.request); !status.ok()) return status;
  return out;
}

absl::StatusOr<ScoreRequest> Validate(const v1::ScoreRequest& request, const ServedModel& model,
                                      const RequestLimits& limits) {
  const ModelInfo& info = model.info;
  ScoreRequest out;
  out.model = info.name;
  out.trace = request.trace();
  if (absl::Status status = CheckRange("top_k", request.top_k(), 0, kMaxAlternatives);
      !status.ok()) {
    return status;
  }
  out.top_k = static_cast<int32_t>(std::min<int64_t>(request.top_k(), info.vocab_size));
  if (request.continuations_size() > limits.max_continuations) {
    return Invalid("continuations", request.continuations_size(), "; the limit is ",
                   limits.max_continuations);
  }
  if (out.trace && request.continuations_size() > 0) {
    return Invalid("trace", "is of one sequence; leave out the continuations");
  }
  if (out.trace && info.residual == "additive") {
    return Invalid("trace", "model ", info.name, " is additive: it has no rewrites to trace");
  }

  absl::StatusOr<std::vector<int32_t>> context = TokensOf("context", request, model);
  if (!context.ok()) return context.status();
  out.context = *std::move(context);
  const auto context_tokens = static_cast<int64_t>(out.context.size());
  if (absl::Status status = CheckFits("context", context_tokens, info); !status.ok()) return status;
  if (out.trace && context_tokens > limits.max_trace_tokens) {
    return Invalid("trace", "of ", context_tokens, " tokens; the limit is ",
                   limits.max_trace_tokens);
  }

  for (int i = 0; i < request.continuations_size(); ++i) {
    const std::string field = absl::StrCat("continuations[", i, "]");
    absl::StatusOr<std::vector<int32_t>> ids = TokensOf(field, request.continuations(i), model);
    if (!ids.ok()) return ids.status();
    const auto tokens = static_cast<int64_t>(ids->size());
    if (absl::Status status =
            CheckFits(absl::StrCat("context and ", field), context_tokens + tokens, info);
        !status.ok()) {
      return status;
    }
    out.continuations.push_back(*std::move(ids));
  }
  return out;
}

}  // namespace deltaserve
