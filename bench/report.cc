#include "bench/report.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/stats.h"

namespace deltaserve::bench {
namespace {

using Json = nlohmann::ordered_json;
using RoundValue = std::function<double(const Cell::Round&)>;

Json MedianOver(const Cell& cell, const RoundValue& value) {
  std::vector<double> values;
  for (const Cell::Round& round : cell.rounds) values.push_back(value(round));
  return values.empty() ? Json() : Json(Median(std::move(values)));
}

Json TokensPerSecond(const Cell& cell) {
  return MedianOver(cell, [&](const auto& round) { return cell.tokens / round.seconds; });
}

// Bytes that a step has to read, per second, of what the machine can read (MBU).
Json BandwidthUsed(const Cell& cell) {
  const auto bytes = static_cast<double>(cell.work.matmul.weight_bytes + cell.work.kv_bytes);
  return MedianOver(cell, [bytes](const auto& round) {
    return bytes * 1e-9 / round.seconds / round.limits.read_gb_s;
  });
}

// Operations of a step's matrix products, per second, of what the machine can multiply (MFU).
Json FlopsUsed(const Cell& cell) {
  return MedianOver(cell, [&](const auto& round) {
    return cell.work.matmul.flops * 1e-9 / round.seconds / round.limits.matmul_gflops;
  });
}

// The median over the rounds of the ratio of tokens per second; null unless both have them.
Json RateRatio(const Cell* cell, const Cell* base) {
  if (cell == nullptr || base == nullptr) return nullptr;
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(cell->rounds.size(), base->rounds.size()); ++i) {
    ratios.push_back(cell->tokens / cell->rounds[i].seconds /
                     (base->tokens / base->rounds[i].seconds));
  }
  return ratios.empty() ? Json() : Json(Median(std::move(ratios)));
}

const EngineResult* Find(const std::vector<EngineResult>& results, ResidualKind kind) {
  for (const EngineResult& result : results) {
    if (result.kind == kind) return &result;
  }
  return nullptr;
}

const Cell* DecodeCell(const EngineResult* result, int64_t batch) {
  if (result == nullptr) return nullptr;
  const auto found = result->decode.find(batch);
  return found == result->decode.end() ? nullptr : &found->second;
}

Json EngineRows(const Options& options, const Results& results) {
  const EngineResult* additive = Find(results.engine, ResidualKind::kAdditive);
  Json rows = Json::array();
  for (const EngineResult& result : results.engine) {
    for (const auto& [batch, decode] : result.decode) {
      rows.push_back(
          {{"residual", Name(result.kind)},
           {"dtype", Name(options.dtype)},
           {"batch", batch},
           {"context", options.context},
           {"decode_tokens_per_s", TokensPerSecond(decode)},
           {"prefill_tokens_per_s", TokensPerSecond(result.prefill)},
           {"mbu", BandwidthUsed(decode)},
           {"mfu", FlopsUsed(result.prefill)},
           {"decode_mfu", FlopsUsed(decode)},
           {"decode_vs_batch_1", RateRatio(&decode, DecodeCell(&result, 1))},
           {"decode_vs_additive", RateRatio(&decode, DecodeCell(additive, batch))},
           {"prefill_vs_additive",
            RateRatio(&result.prefill, additive == nullptr ? nullptr : &additive->prefill)}});
    }
  }
  return rows;
}

Json ServerRows(const Options& options, const Results& results) {
  Json rows = Json::array();
  for (const ServerResult& result : results.server) {
    const EngineResult* engine = Find(results.engine, result.kind);
    for (const auto& [streams, rounds] : result.streams) {
      std::vector<double> rates, times;
      for (const ServerResult::Round& round : rounds) {
        if (round.tokens_per_s) rates.push_back(*round.tokens_per_s);
        times.push_back(round.time_to_first_token_ms);
      }
      const Cell* decode = DecodeCell(engine, streams);
      Json rate, prompt_ms, of_engine;
      if (!rates.empty()) rate = Median(std::move(rates));
      if (engine != nullptr) {
        prompt_ms =
            MedianOver(engine->prompt, [](const auto& round) { return round.seconds * 1e3; });
      }
      if (decode != nullptr && !rate.is_null()) {
        of_engine = rate.get<double>() / TokensPerSecond(*decode).get<double>();
      }
      rows.push_back({{"residual", Name(result.kind)},
                      {"dtype", Name(options.dtype)},
                      {"streams", streams},
                      {"prompt_tokens", options.PromptTokens()},
                      {"generated_tokens", Options::kGeneratedTokens},
                      {"tokens_per_s", rate},
                      {"of_engine", of_engine},
                      {"time_to_first_token_ms", Median(std::move(times))},
                      {"engine_prompt_ms", prompt_ms}});
    }
  }
  return rows;
}

Json MemoryRows(const Results& results) {
  Json rows = Json::array();
  for (const ServerResult& result : results.server) {
    const int64_t reserved = result.weight_bytes + result.cache_bytes;
    rows.push_back({{"residual", Name(result.kind)},
                    {"weight_mb", result.weight_bytes * 1e-6},
                    {"cache_mb", result.cache_bytes * 1e-6},
                    {"rss_loaded_mb", result.rss_loaded_bytes * 1e-6},
                    {"rss_busy_mb", result.rss_busy_bytes * 1e-6},
                    {"limit_mb", 1.3 * reserved * 1e-6 + 150}});
  }
  return rows;
}

Json Limits(const std::vector<MachineLimits>& limits, double MachineLimits::*which) {
  if (limits.empty()) return nullptr;
  std::vector<double> values;
  for (const MachineLimits& measured : limits) values.push_back(measured.*which);
  return {{"median", Median(values)},
          {"min", *std::min_element(values.begin(), values.end())},
          {"max", *std::max_element(values.begin(), values.end())}};
}

Json MedianOf(const Json& limits) { return limits.is_null() ? Json() : limits["median"]; }

}  // namespace

Json ToJson(const Options& options, const Results& results) {
  const Json read = Limits(results.limits, &MachineLimits::read_gb_s);
  const Json matmul = Limits(results.limits, &MachineLimits::matmul_gflops);
  const int threads =
      options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  return {{"shape", options.shape},
          {"dtype", Name(options.dtype)},
          {"device", options.device},
          {"threads", threads},
          {"cpu", CpuModel()},
          {"commit", options.commit},
          {"repeats", options.repeats},
          {"prefill_tokens", kPrefillTokens},
          {"read_bandwidth_gb_s", MedianOf(read)},
          {"matmul_gflops", MedianOf(matmul)},
          {"read_bandwidth_gb_s_range", read},
          {"matmul_gflops_range", matmul},
          {"rows", EngineRows(options, results)},
          {"server", ServerRows(options, results)},
          {"memory", MemoryRows(results)}};
}

}  // namespace deltaserve::bench
