#include "server/telemetry/vllm_metrics.h"

#include <algorithm>

#include "absl/strings/string_view.h"
#include "server/telemetry/buckets.h"
#include "server/telemetry/metric_families.h"

namespace deltaserve {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::Registry;

}  // namespace

struct VllmMetrics::Families {
  explicit Families(Registry& registry)
      : running(AddGauge(registry, "vllm:num_requests_running",
                         "Requests that hold a place in the batch")),
        waiting(AddGauge(registry, "vllm:num_requests_waiting", "Requests queued")),
        kv_cache_usage(AddGauge(registry, "vllm:kv_cache_usage_perc",
                                "Pages of keys and values in use, 1 being all of them")),
        prompt_tokens(
            AddCounter(registry, "vllm:prompt_tokens_total", "Prompt tokens of accepted requests")),
        generation_tokens(AddCounter(registry, "vllm:generation_tokens_total",
                                     "Tokens generated, over all samples")),
        prefix_cache_queries(AddCounter(registry, "vllm:prefix_cache_queries_total",
                                        "Prompt tokens that were looked for in the cache")),
        prefix_cache_hits(AddCounter(registry, "vllm:prefix_cache_hits_total",
                                     "Prompt tokens that were not computed anew")),
        preemptions(AddCounter(registry, "vllm:num_preemptions_total",
                               "Sequences that gave up their pages to resume later")),
        success(AddCounter(registry, "vllm:request_success_total",
                           "Samples that ended, by why; requests that ended badly: abort")),
        time_to_first_token(AddHistogram(registry, "vllm:time_to_first_token_seconds",
                                         "From submission to the first token")),
        inter_token_latency(AddHistogram(registry, "vllm:inter_token_latency_seconds",
                                         "Between tokens of a sample")),
        time_per_output_token(AddHistogram(registry, "vllm:request_time_per_output_token_seconds",
                                           "Mean time between the tokens of a sample")),
        e2e_latency(AddHistogram(registry, "vllm:e2e_request_latency_seconds",
                                 "Accepted requests, from arrival to end")),
        prefill_time(AddHistogram(registry, "vllm:request_prefill_time_seconds",
                                  "From a request's first step to its first token")),
        decode_time(AddHistogram(registry, "vllm:request_decode_time_seconds",
                                 "From a request's first token to its end")) {}

  Family<Gauge>& running;
  Family<Gauge>& waiting;
  Family<Gauge>& kv_cache_usage;
  Family<Counter>& prompt_tokens;
  Family<Counter>& generation_tokens;
  Family<Counter>& prefix_cache_queries;
  Family<Counter>& prefix_cache_hits;
  Family<Counter>& preemptions;
  Family<Counter>& success;
  Family<Histogram>& time_to_first_token;
  Family<Histogram>& inter_token_latency;
  Family<Histogram>& time_per_output_token;
  Family<Histogram>& e2e_latency;
  Family<Histogram>& prefill_time;
  Family<Histogram>& decode_time;
};

struct VllmMetrics::ModelSeries {
  ModelSeries(const Families& families, const Labels& model)
      : running(families.running.Add(model)),
        waiting(families.waiting.Add(model)),
        kv_cache_usage(families.kv_cache_usage.Add(model)),
        prompt_tokens(families.prompt_tokens.Add(model)),
        generation_tokens(families.generation_tokens.Add(model)),
        prefix_cache_queries(families.prefix_cache_queries.Add(model)),
        prefix_cache_hits(families.prefix_cache_hits.Add(model)),
        preemptions(families.preemptions.Add(model)),
        stop(AddReason(families, model, "stop")),
        length(AddReason(families, model, "length")),
        abort(AddReason(families, model, "abort")),
        error(AddReason(families, model, "error")),
        time_to_first_token(families.time_to_first_token.Add(model, TimeToFirstTokenBuckets())),
        inter_token_latency(families.inter_token_latency.Add(model, InterTokenLatencyBuckets())),
        time_per_output_token(
            families.time_per_output_token.Add(model, InterTokenLatencyBuckets())),
        e2e_latency(families.e2e_latency.Add(model, RequestDurationBuckets())),
        prefill_time(families.prefill_time.Add(model, RequestDurationBuckets())),
        decode_time(families.decode_time.Add(model, RequestDurationBuckets())) {}

  static Counter& AddReason(const Families& families, Labels labels, const char* reason) {
    labels["finished_reason"] = reason;
    return families.success.Add(labels);
  }

  Counter& Ended(FinishReason reason) const {
    switch (reason) {
      case FinishReason::kStop:
        return stop;
      case FinishReason::kLength:
      case FinishReason::kBudget:  // cut short as well
        return length;
      case FinishReason::kCancelled:
      case FinishReason::kDeadline:
        return abort;
      case FinishReason::kError:
        return error;
    }
    return error;
  }

  Gauge& running;
  Gauge& waiting;
  Gauge& kv_cache_usage;
  Counter& prompt_tokens;
  Counter& generation_tokens;
  Counter& prefix_cache_queries;
  Counter& prefix_cache_hits;
  Counter& preemptions;
  Counter& stop;
  Counter& length;
  Counter& abort;
  Counter& error;
  Histogram& time_to_first_token;
  Histogram& inter_token_latency;
  Histogram& time_per_output_token;
  Histogram& e2e_latency;
  Histogram& prefill_time;
  Histogram& decode_time;
};

VllmMetrics::VllmMetrics(const std::vector<std::string>& models)
    : registry_(std::make_shared<Registry>()) {
  const Families families(*registry_);
  for (const std::string& model : models) {
    models_[model] = std::make_unique<const ModelSeries>(families, Labels{{"model_name", model}});
  }
}

VllmMetrics::~VllmMetrics() = default;

const VllmMetrics::ModelSeries* VllmMetrics::Find(std::string_view model) const {
  const auto found = models_.find(absl::string_view(model.data(), model.size()));
  return found == models_.end() ? nullptr : found->second.get();
}

void VllmMetrics::OnStep(const StepStats& step) {
  const ModelSeries* series = Find(step.model);
  if (series == nullptr || step.preemptions == 0) return;
  series->preemptions.Increment(static_cast<double>(step.preemptions));
}

void VllmMetrics::OnLoad(const ModelLoad& load) {
  const ModelSeries* series = Find(load.model);
  if (series == nullptr) return;
  series->running.Set(static_cast<double>(load.requests_running));
  series->waiting.Set(static_cast<double>(load.requests_waiting));
  const int64_t pages = std::max<int64_t>(1, load.pages_used + load.pages_free);
  series->kv_cache_usage.Set(static_cast<double>(load.pages_used) / static_cast<double>(pages));
}

void VllmMetrics::OnFinished(Method method, std::string_view model, const absl::Status& status,
                             const Usage& usage, SteadyNs duration_ns) {
  const ModelSeries* series = Find(model);
  const bool accepted = usage.total_ns > 0;
  if (series == nullptr || !accepted) return;
  series->e2e_latency.Observe(Seconds(duration_ns));
  if (usage.time_to_first_token_ns > 0) {
    series->prefill_time.Observe(Seconds(usage.time_to_first_token_ns - usage.queue_ns));
    if (method != Method::kScore) {
      series->time_to_first_token.Observe(Seconds(usage.time_to_first_token_ns));
      series->decode_time.Observe(Seconds(usage.total_ns - usage.time_to_first_token_ns));
    }
  }
  series->prompt_tokens.Increment(static_cast<double>(usage.prompt_tokens));
  series->generation_tokens.Increment(static_cast<double>(usage.completion_tokens));
  series->prefix_cache_queries.Increment(static_cast<double>(usage.prompt_tokens));
  series->prefix_cache_hits.Increment(static_cast<double>(usage.cached_prompt_tokens));
  if (!status.ok()) {
    series->abort.Increment();
  } else if (method == Method::kScore) {
    series->stop.Increment();
  }
}

void VllmMetrics::OnSampleDone(std::string_view model, const SampleStats& sample) {
  const ModelSeries* series = Find(model);
  if (series == nullptr) return;
  series->Ended(sample.reason).Increment();
  if (sample.tokens > 1) {
    series->time_per_output_token.Observe(Seconds(sample.last_at - sample.first_at) /
                                          static_cast<double>(sample.tokens - 1));
  }
}

void VllmMetrics::OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns,
                                      int64_t tokens) {
  const ModelSeries* series = Find(model);
  if (series == nullptr) return;
  for (int64_t i = 0; i < tokens; ++i) series->inter_token_latency.Observe(Seconds(per_token_ns));
}

}  // namespace deltaserve
