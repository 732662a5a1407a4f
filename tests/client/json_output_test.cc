#include "client/cli/json_output.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>

namespace deltaserve::cli {
namespace {

template <typename Message>
Json JsonOf(const char* text_format) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text_format, &message)) << text_format;
  return Json::parse(Dump(ToJson(message)));
}

TEST(JsonOutputTest, OneSample) {
  const Json json = JsonOf<v1::GenerateResponse>(R"(
    request_id: "r" model: "m" seed: 18446744073709551615
    samples { text: "a\nü" token_ids: [ 5, 6 ] finish_reason: STOP }
    usage { prompt_tokens: 1 completion_tokens: 2 queue_seconds: 0.25
            time_to_first_token_seconds: 0.5 total_seconds: 1 })");

  EXPECT_EQ(json, Json::parse(R"({
    "text": "a\nü", "token_ids": [5, 6], "finish_reason": "STOP",
    "usage": {"prompt_tokens": 1, "cached_prompt_tokens": 0, "completion_tokens": 2,
              "scored_tokens": 0, "queue_seconds": 0.25, "time_to_first_token_seconds": 0.5,
              "total_seconds": 1.0, "device_seconds": 0.0},
    "request_id": "r", "model": "m", "seed": 18446744073709551615})"));
}

TEST(JsonOutputTest, WhatIsKnownOfTheDevice) {
  const Json json = JsonOf<v1::ScoreResponse>(R"(
    usage { device_seconds: 0.75 energy_joules: 3 cost_usd: 0.5
            prefill { device_seconds: 0.5 energy_joules: 2 cost_usd: 0.375 }
            decode { device_seconds: 0.25 cost_usd: 0 } })");

  const Json& usage = json["usage"];
  EXPECT_EQ(usage["device_seconds"], 0.75);
  EXPECT_EQ(usage["energy_joules"], 3.0);
  EXPECT_EQ(usage["cost_usd"], 0.5);
  EXPECT_EQ(usage["prefill"], Json::parse(R"({"device_seconds": 0.5, "energy_joules": 2.0,
                                              "cost_usd": 0.375})"));
  EXPECT_EQ(usage["decode"], Json::parse(R"({"device_seconds": 0.25, "cost_usd": 0.0})"));
  EXPECT_FALSE(usage.contains("score"));
}

TEST(JsonOutputTest, SeveralSamples) {
  const Json json = JsonOf<v1::GenerateResponse>(R"(
    samples { index: 0 text: "a" finish_reason: STOP }
    samples { index: 1 text: "b" finish_reason: LENGTH token_ids: 3 })");

  EXPECT_EQ(json["text"], "a") << "the first, also at the top";
  EXPECT_EQ(json["samples"], Json::parse(R"([
    {"text": "a", "token_ids": [], "finish_reason": "STOP"},
    {"text": "b", "token_ids": [3], "finish_reason": "LENGTH"}])"));
}

TEST(JsonOutputTest, LogprobsWhereThereAreSome) {
  const Json json = JsonOf<v1::GenerateResponse>(R"(
    samples { token_ids: 3 finish_reason: STOP
              logprobs { id: 3 piece: "x" logprob: -0.5
                         top { id: 4 piece: "\377" logprob: -0.25 } } })");

  EXPECT_EQ(json["logprobs"], Json::parse(R"([
    {"id": 3, "piece": "x", "logprob": -0.5,
     "top": [{"id": 4, "piece": "\ufffd", "logprob": -0.25}]}])"));
}

TEST(JsonOutputTest, ASequencesFirstTokenHasNoScore) {
  const Json json = JsonOf<v1::ScoreResponse>(R"(
    token_ids: [ 1, 2, 3 ]
    sequence { tokens { id: 2 logprob: -1 } tokens { id: 3 logprob: -2 } loglik: -3 })");

  EXPECT_EQ(json["token_ids"], Json({1, 2, 3}));
  EXPECT_EQ(json["token_logprobs"], Json({nullptr, -1.0, -2.0}));
  EXPECT_EQ(json["loglik"], -3.0);
  EXPECT_EQ(json["is_greedy"], false);
  EXPECT_EQ(json["usage"]["prompt_tokens"], 0);
  for (const char* absent : {"continuations", "top", "beta"}) EXPECT_FALSE(json.contains(absent));
}

TEST(JsonOutputTest, AlternativesStandBesideTheirTokens) {
  const Json json = JsonOf<v1::ScoreResponse>(R"(
    token_ids: [ 1, 2 ]
    sequence { tokens { id: 2 logprob: -1 top { id: 9 piece: "z" logprob: -0.5 } } loglik: -1 })");

  EXPECT_EQ(json["top"], Json::parse(R"([null, [{"id": 9, "piece": "z", "logprob": -0.5}]])"));
}

TEST(JsonOutputTest, ContinuationsAreAList) {
  const Json json = JsonOf<v1::ScoreResponse>(R"(
    token_ids: [ 1 ]
    continuations { tokens { id: 2 logprob: -1 } loglik: -1 is_greedy: true }
    continuations { tokens { id: 3 logprob: -2 } tokens { id: 4 logprob: -4 } loglik: -6 })");

  EXPECT_EQ(json["continuations"], Json::parse(R"([
    {"token_ids": [2], "token_logprobs": [-1.0], "loglik": -1.0, "is_greedy": true},
    {"token_ids": [3, 4], "token_logprobs": [-2.0, -4.0], "loglik": -6.0, "is_greedy": false}])"));
  EXPECT_FALSE(json.contains("token_logprobs"));
  EXPECT_FALSE(json.contains("loglik"));
}

TEST(JsonOutputTest, TheTraceIsNestedByLayerSublayerTokenAndChannel) {
  const Json json = JsonOf<v1::ScoreResponse>(R"(
    trace { num_layers: 1 num_tokens: 3 value_channels: 2
            beta: [ 1, 2, 3, 4, 5, 6 ]
            proj: [ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 ]
            v: [ -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12 ] })");

  EXPECT_EQ(json["beta"], Json::parse("[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]"));
  EXPECT_EQ(json["proj"], Json::parse("[[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],"
                                      "  [[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]]]"));
  EXPECT_EQ(json["v"][0][1][2][1], -12.0);
}

TEST(JsonOutputTest, NumbersSurviveTheRoundTrip) {
  v1::ScoreResponse response;
  v1::ScoredTokens& scores = *response.mutable_sequence();
  for (float value : {-1.1f, -0.1f, -std::nextafter(3.0f, 4.0f), -1e-30f}) {
    scores.add_tokens()->set_logprob(value);
  }
  scores.set_loglik(-0.1 - 1e-15);

  const Json json = Json::parse(Dump(ToJson(response)));

  for (int i = 0; i < scores.tokens_size(); ++i) {
    EXPECT_EQ(json["token_logprobs"][i + 1].get<float>(), scores.tokens(i).logprob());
  }
  EXPECT_EQ(json["loglik"].get<double>(), scores.loglik());
}

TEST(JsonOutputTest, PiecesThatAreNotUtf8ShowTheReplacementCharacter) {
  EXPECT_EQ(JsonOf<v1::TokenizeResponse>(R"(
              token_ids: [ 1, 2 ] pieces: "\303" pieces: "\303\274" )"),
            Json::parse(R"({"token_ids": [1, 2], "pieces": ["\ufffd", "ü"]})"));
  EXPECT_EQ(JsonOf<v1::TokenizeResponse>(""), Json::parse(R"({"token_ids": [], "pieces": []})"));
}

TEST(JsonOutputTest, ModelsHaveEveryFieldOfTheContract) {
  v1::Model model;
  model.set_name("m");
  const Json json = ToJson(std::vector<v1::Model>{model})["models"][0];

  const auto* descriptor = v1::Model::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    EXPECT_TRUE(json.contains(descriptor->field(i)->name())) << descriptor->field(i)->name();
  }
  EXPECT_TRUE(json["eos_token_id"].is_null());
  EXPECT_TRUE(json["usd_per_device_hour"].is_null());
}

TEST(JsonOutputTest, EverythingIsOnOneLine) {
  v1::GenerateResponse response;
  response.add_samples()->set_text("a\nb\r\n");
  EXPECT_EQ(Dump(ToJson(response)).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace deltaserve::cli
