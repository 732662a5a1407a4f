#include "server/telemetry/metrics.h"

#include <array>
#include <cctype>

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

constexpr std::array kMethods = {Method::kGenerate, Method::kGenerateStream, Method::kScore};

std::string Name(Method method) {
  switch (method) {
    case Method::kGenerate:
      return "Generate";
    case Method::kGenerateStream:
      return "GenerateStream";
    case Method::kScore:
      return "Score";
  }
  return "?";
}

std::string Outcome(absl::StatusCode code) {
  std::string name = absl::StatusCodeToString(code);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

struct Metrics::Families {
  explicit Families(Registry& registry)
      : requests_received(AddCounter(registry, "deltaserve_requests_received_total",
                                     "Requests that arrived, by method")),
        requests(AddCounter(registry, "deltaserve_requests_total",
                            "Requests that ended, by method, outcome and model")),
        request_duration(AddHistogram(registry, "deltaserve_request_duration_seconds",
                                      "Accepted requests, from arrival to end")),
        queue_duration(AddHistogram(registry, "deltaserve_queue_duration_seconds",
                                    "Accepted requests, from submission to their first step")),
        time_to_first_token(AddHistogram(registry, "deltaserve_time_to_first_token_seconds",
                                         "From submission to the first token")),
        inter_token_latency(AddHistogram(registry, "deltaserve_inter_token_latency_seconds",
                                         "Between tokens of a sample")),
        requests_running(AddGauge(registry, "deltaserve_requests_running",
                                  "Requests that hold a place in the batch")),
        requests_waiting(AddGauge(registry, "deltaserve_requests_waiting", "Requests queued")),
        prompt_tokens(AddCounter(registry, "deltaserve_prompt_tokens_total",
                                 "Prompt tokens of accepted requests")),
        cached_prompt_tokens(AddCounter(registry, "deltaserve_cached_prompt_tokens_total",
                                        "Prompt tokens that were not computed anew")),
        generated_tokens(AddCounter(registry, "deltaserve_generated_tokens_total",
                                    "Tokens generated, over all samples")),
        scored_tokens(
            AddCounter(registry, "deltaserve_scored_tokens_total", "Tokens scored by Score")),
        step_duration(AddHistogram(registry, "deltaserve_step_duration_seconds",
                                   "Engine steps, by what they computed")),
        batch_tokens(AddHistogram(registry, "deltaserve_batch_tokens", "Tokens of a step")),
        batch_sequences(
            AddHistogram(registry, "deltaserve_batch_sequences", "Sequences of a step")),
        kv_pages(AddGauge(registry, "deltaserve_kv_pages", "Pages of keys and values, by state")),
        preemptions(AddCounter(registry, "deltaserve_preemptions_total",
                               "Sequences that gave up their pages to resume later")),
        model_load_duration(
            AddGauge(registry, "deltaserve_model_load_duration_seconds", "Time to load the model")),
        model_info(AddGauge(registry, "deltaserve_model_info", "1; the model is in the labels")) {}

  Family<Counter>& requests_received;
  Family<Counter>& requests;
  Family<Histogram>& request_duration;
  Family<Histogram>& queue_duration;
  Family<Histogram>& time_to_first_token;
  Family<Histogram>& inter_token_latency;
  Family<Gauge>& requests_running;
  Family<Gauge>& requests_waiting;
  Family<Counter>& prompt_tokens;
  Family<Counter>& cached_prompt_tokens;
  Family<Counter>& generated_tokens;
  Family<Counter>& scored_tokens;
  Family<Histogram>& step_duration;
  Family<Histogram>& batch_tokens;
  Family<Histogram>& batch_sequences;
  Family<Gauge>& kv_pages;
  Family<Counter>& preemptions;
  Family<Gauge>& model_load_duration;
  Family<Gauge>& model_info;
};

struct Metrics::ModelSeries {
  ModelSeries(const Families& families, const Labels& model)
      : time_to_first_token(families.time_to_first_token.Add(model, TimeToFirstTokenBuckets())),
        queue_duration(families.queue_duration.Add(model, RequestDurationBuckets())),
        inter_token_latency(families.inter_token_latency.Add(model, InterTokenLatencyBuckets())),
        requests_running(families.requests_running.Add(model)),
        requests_waiting(families.requests_waiting.Add(model)),
        generated_tokens(families.generated_tokens.Add(model)),
        scored_tokens(families.scored_tokens.Add(model)),
        prefill_duration(AddPhase(families, model, "prefill")),
        decode_duration(AddPhase(families, model, "decode")),
        mixed_duration(AddPhase(families, model, "mixed")),
        batch_tokens(families.batch_tokens.Add(model, BatchBuckets())),
        batch_sequences(families.batch_sequences.Add(model, BatchBuckets())),
        pages_used(AddPages(families, model, "used")),
        pages_free(AddPages(families, model, "free")),
        preemptions(families.preemptions.Add(model)) {
    for (Method method : kMethods) {
      Labels labels = model;
      labels["method"] = Name(method);
      by_method[static_cast<size_t>(method)] = {
          &families.request_duration.Add(labels, RequestDurationBuckets()),
          &families.prompt_tokens.Add(labels), &families.cached_prompt_tokens.Add(labels)};
    }
  }

  static Histogram& AddPhase(const Families& families, Labels labels, const char* phase) {
    labels["phase"] = phase;
    return families.step_duration.Add(labels, StepDurationBuckets());
  }

  static Gauge& AddPages(const Families& families, Labels labels, const char* state) {
    labels["state"] = state;
    return families.kv_pages.Add(labels);
  }

  struct MethodSeries {
    Histogram* request_duration;
    Counter* prompt_tokens;
    Counter* cached_prompt_tokens;
  };
  std::array<MethodSeries, kMethods.size()> by_method;
  Histogram& time_to_first_token;
  Histogram& queue_duration;
  Histogram& inter_token_latency;
  Gauge& requests_running;
  Gauge& requests_waiting;
  Counter& generated_tokens;
  Counter& scored_tokens;
  Histogram& prefill_duration;
  Histogram& decode_duration;
  Histogram& mixed_duration;
  Histogram& batch_tokens;
  Histogram& batch_sequences;
  Gauge& pages_used;
  Gauge& pages_free;
  Counter& preemptions;
};

Metrics::Metrics(const std::vector<std::string>& models)
    : registry_(std::make_shared<Registry>()),
      families_(std::make_unique<const Families>(*registry_)) {
  for (const std::string& model : models) {
    models_[model] = std::make_unique<const ModelSeries>(*families_, Labels{{"model", model}});
  }
  for (Method method : kMethods) families_->requests_received.Add({{"method", Name(method)}});
}

Metrics::~Metrics() = default;

const Metrics::ModelSeries* Metrics::Find(std::string_view model) const {
  const auto found = models_.find(absl::string_view(model.data(), model.size()));
  return found == models_.end() ? nullptr : found->second.get();
}

void Metrics::SetModel(const ModelInfo& info, double load_seconds) {
  families_->model_load_duration.Add({{"model", info.name}}).Set(load_seconds);
  families_->model_info
      .Add({{"model", info.name},
            {"residual", info.residual},
            {"d_v", std::to_string(info.value_channels)},
            {"dtype", info.dtype},
            {"device", info.device}})
      .Set(1);
}

void Metrics::OnStep(const StepStats& step) {
  const ModelSeries* series = Find(step.model);
  if (series == nullptr) return;
  Histogram& duration = step.decode_tokens == 0    ? series->prefill_duration
                        : step.prefill_tokens == 0 ? series->decode_duration
                                                   : series->mixed_duration;
  duration.Observe(Seconds(step.end - step.begin));
  series->batch_tokens.Observe(static_cast<double>(step.prefill_tokens + step.decode_tokens));
  series->batch_sequences.Observe(static_cast<double>(step.sequences));
  if (step.preemptions > 0) series->preemptions.Increment(static_cast<double>(step.preemptions));
}

void Metrics::OnLoad(const ModelLoad& load) {
  const ModelSeries* series = Find(load.model);
  if (series == nullptr) return;
  series->requests_running.Set(static_cast<double>(load.requests_running));
  series->requests_waiting.Set(static_cast<double>(load.requests_waiting));
  series->pages_used.Set(static_cast<double>(load.pages_used));
  series->pages_free.Set(static_cast<double>(load.pages_free));
}

void Metrics::OnReceived(Method method) {
  families_->requests_received.Add({{"method", Name(method)}}).Increment();
}

void Metrics::OnFinished(Method method, std::string_view model, const absl::Status& status,
                         const Usage& usage, SteadyNs duration_ns) {
  const ModelSeries* series = Find(model);
  // Only models that are served make a time series.
  const std::string label(series == nullptr ? "" : model);
  families_->requests
      .Add({{"method", Name(method)}, {"outcome", Outcome(status.code())}, {"model", label}})
      .Increment();
  const bool accepted = usage.total_ns > 0;
  if (series == nullptr || !accepted) return;
  const ModelSeries::MethodSeries& of_method = series->by_method[static_cast<size_t>(method)];
  of_method.request_duration->Observe(Seconds(duration_ns));
  of_method.prompt_tokens->Increment(static_cast<double>(usage.prompt_tokens));
  of_method.cached_prompt_tokens->Increment(static_cast<double>(usage.cached_prompt_tokens));
  series->queue_duration.Observe(Seconds(usage.queue_ns));
  if (method != Method::kScore && usage.time_to_first_token_ns > 0) {
    series->time_to_first_token.Observe(Seconds(usage.time_to_first_token_ns));
  }
  series->generated_tokens.Increment(static_cast<double>(usage.completion_tokens));
  series->scored_tokens.Increment(static_cast<double>(usage.scored_tokens));
}

void Metrics::OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) {
  const ModelSeries* series = Find(model);
  if (series == nullptr) return;
  for (int64_t i = 0; i < tokens; ++i) series->inter_token_latency.Observe(Seconds(per_token_ns));
}

}  // namespace deltaserve
