#include "client/cli/json_output.h"

#include <cstdint>

namespace deltaserve::cli {
namespace {

// Adds what is known of energy and cost.
template <typename Message>
void AddEnergyAndCost(const Message& usage, Json& json) {
  if (usage.has_energy_joules()) json["energy_joules"] = usage.energy_joules();
  if (usage.has_cost_usd()) json["cost_usd"] = usage.cost_usd();
}

Json ToJson(const v1::PhaseUsage& usage) {
  Json json = {{"device_seconds", usage.device_seconds()}};
  AddEnergyAndCost(usage, json);
  return json;
}

Json ToJson(const v1::Usage& usage) {
  Json json = {{"prompt_tokens", usage.prompt_tokens()},
               {"cached_prompt_tokens", usage.cached_prompt_tokens()},
               {"completion_tokens", usage.completion_tokens()},
               {"scored_tokens", usage.scored_tokens()},
               {"queue_seconds", usage.queue_seconds()},
               {"time_to_first_token_seconds", usage.time_to_first_token_seconds()},
               {"total_seconds", usage.total_seconds()},
               {"device_seconds", usage.device_seconds()}};
  AddEnergyAndCost(usage, json);
  if (usage.has_prefill()) json["prefill"] = ToJson(usage.prefill());
  if (usage.has_decode()) json["decode"] = ToJson(usage.decode());
  if (usage.has_score()) json["score"] = ToJson(usage.score());
  return json;
}

Json Alternatives(const v1::TokenLogprob& token) {
  Json list = Json::array();
  for (const v1::Alternative& alternative : token.top()) {
    list.push_back({{"id", alternative.id()},
                    {"piece", alternative.piece()},
                    {"logprob", alternative.logprob()}});
  }
  return list;
}

Json ToJson(const v1::Sample& sample) {
  Json json = {{"text", sample.text()},
               {"token_ids", sample.token_ids()},
               {"finish_reason", v1::FinishReason_Name(sample.finish_reason())}};
  if (sample.logprobs_size() > 0) {
    Json& list = json["logprobs"] = Json::array();
    for (const v1::TokenLogprob& token : sample.logprobs()) {
      list.push_back({{"id", token.id()},
                      {"piece", token.piece()},
                      {"logprob", token.logprob()},
                      {"top", Alternatives(token)}});
    }
  }
  return json;
}

// Adds `token_logprobs`, `loglik`, `is_greedy` and, where asked for, `top`. The lists begin with
// `first` where that is not empty: it stands for a token without a score.
void AddScores(const v1::ScoredTokens& scores, const Json& first, Json& json) {
  Json logprobs = first;
  Json top = first;
  bool has_top = false;
  for (const v1::TokenLogprob& token : scores.tokens()) {
    logprobs.push_back(token.logprob());
    top.push_back(Alternatives(token));
    has_top = has_top || token.top_size() > 0;
  }
  json["token_logprobs"] = std::move(logprobs);
  json["loglik"] = scores.loglik();
  json["is_greedy"] = scores.is_greedy();
  if (has_top) json["top"] = std::move(top);
}

// `values`, flat and row-major, as lists nested along `shape`.
Json Nested(const google::protobuf::RepeatedField<float>& values, const std::vector<int64_t>& shape,
            size_t axis, int& next) {
  Json list = Json::array();
  for (int64_t i = 0; i < shape[axis]; ++i) {
    if (axis + 1 < shape.size()) {
      list.push_back(Nested(values, shape, axis + 1, next));
    } else {
      list.push_back(next < values.size() ? Json(values[next]) : Json());
      ++next;
    }
  }
  return list;
}

Json Nested(const google::protobuf::RepeatedField<float>& values,
            const std::vector<int64_t>& shape) {
  int next = 0;
  return Nested(values, shape, 0, next);
}

}  // namespace

Json ToJson(const v1::GenerateResponse& response) {
  Json json = Json::object();
  if (response.samples_size() > 0) json = ToJson(response.samples(0));
  json["usage"] = ToJson(response.usage());
  json["request_id"] = response.request_id();
  json["model"] = response.model();
  json["seed"] = response.seed();
  if (response.samples_size() > 1) {
    Json& samples = json["samples"] = Json::array();
    for (const v1::Sample& sample : response.samples()) samples.push_back(ToJson(sample));
  }
  return json;
}

Json ToJson(const v1::ScoreResponse& response) {
  Json json = {{"token_ids", response.token_ids()}};
  if (response.continuations_size() == 0) {
    AddScores(response.sequence(), Json::array({nullptr}), json);
  } else {
    Json& list = json["continuations"] = Json::array();
    for (const v1::ScoredTokens& scores : response.continuations()) {
      Json& continuation = list.emplace_back(Json::object());
      Json& ids = continuation["token_ids"] = Json::array();
      for (const v1::TokenLogprob& token : scores.tokens()) ids.push_back(token.id());
      AddScores(scores, Json::array(), continuation);
    }
  }
  if (response.has_trace()) {
    const v1::RewriteTrace& trace = response.trace();
    const std::vector<int64_t> per_token = {trace.num_layers(), 2, trace.num_tokens()};
    std::vector<int64_t> per_channel = per_token;
    per_channel.push_back(trace.value_channels());
    json["beta"] = Nested(trace.beta(), per_token);
    json["proj"] = Nested(trace.proj(), per_channel);
    json["v"] = Nested(trace.v(), per_channel);
  }
  json["usage"] = ToJson(response.usage());
  json["request_id"] = response.request_id();
  json["model"] = response.model();
  return json;
}

Json ToJson(const v1::TokenizeResponse& response) {
  return {{"token_ids", response.token_ids()}, {"pieces", response.pieces()}};
}

Json ToJson(const std::vector<v1::Model>& models) {
  Json list = Json::array();
  for (const v1::Model& model : models) {
    list.push_back(
        {{"name", model.name()},
         {"residual", model.residual()},
         {"value_channels", model.value_channels()},
         {"vocab_size", model.vocab_size()},
         {"context_length", model.context_length()},
         {"num_layers", model.num_layers()},
         {"hidden_size", model.hidden_size()},
         {"num_heads", model.num_heads()},
         {"head_dim", model.head_dim()},
         {"num_parameters", model.num_parameters()},
         {"weight_bytes", model.weight_bytes()},
         {"dtype", model.dtype()},
         {"device", model.device()},
         {"has_tokenizer", model.has_tokenizer()},
         {"eos_token_id", model.has_eos_token_id() ? Json(model.eos_token_id()) : Json()},
         {"max_sequence_tokens", model.max_sequence_tokens()},
         {"usd_per_device_hour",
          model.has_usd_per_device_hour() ? Json(model.usd_per_device_hour()) : Json()}});
  }
  return {{"models", std::move(list)}};
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace deltaserve::cli
