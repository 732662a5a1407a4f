// The composition root: the only place that knows every room.
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/accounts.h"
#include "server/api/clock.h"
#include "server/device.h"
#include "server/devices.h"
#include "server/engine/engine_loop.h"
#include "server/engine/least_loaded_queue.h"
#include "server/engine/model_lane.h"
#include "server/options.h"
#include "server/service/admin_service.h"
#include "server/service/grpc_server.h"
#include "server/service/server_tls.h"
#include "server/service/watchdog.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/cost_metrics.h"
#include "server/telemetry/device_metrics.h"
#include "server/telemetry/gate_metrics.h"
#include "server/telemetry/load_sum.h"
#include "server/telemetry/metered_queue.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_server.h"
#include "server/telemetry/server_metrics.h"
#include "server/telemetry/tenant_metrics.h"
#include "server/telemetry/vllm_metrics.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {
namespace {

// Exit codes, besides 0.
constexpr int kCannotServe = 1;
constexpr int kUsage = 2;
constexpr int kNoDevice = 3;

// What a step under way may take past the drain limit.
constexpr unsigned kHungStepSeconds = 30;

std::shared_ptr<spdlog::logger> MakeLog(const std::string& level) {
  auto log = std::make_shared<spdlog::logger>("deltaserve",
                                              std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  log->set_level(spdlog::level::from_str(level));
  log->flush_on(spdlog::level::info);
  return log;
}

// SIGTERM, SIGINT and SIGHUP wait from now on to be taken by sigwait. Before any thread is started,
// since threads inherit the mask.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

LaneOptions LaneOptionsFor(const Options& options, const Options::Model& model,
                           const Tokenizer* tokenizer) {
  LaneOptions lane;
  lane.name = model.name;
  lane.model_dir = model.path;
  if (options.dtype == "bf16") lane.dtype = DType::kBF16;
  if (options.dtype == "fp32") lane.dtype = DType::kF32;
  if (tokenizer != nullptr) lane.default_eos_token_id = tokenizer->EndOfText();
  lane.max_batch_tokens = options.max_batch_tokens;
  lane.max_sequences = options.max_sequences;
  lane.kv_cache_tokens = options.kv_cache_tokens;
  lane.max_continuations = options.max_continuations;
  return lane;
}

// Null: there is none, and the model serves token ids only.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const Options::Model& model) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(model.path);
  if (tokenizer.ok()) return std::shared_ptr<const Tokenizer>(*std::move(tokenizer));
  if (absl::IsNotFound(tokenizer.status())) return std::shared_ptr<const Tokenizer>();
  return absl::Status(tokenizer.status().code(),
                      absl::StrCat("model ", model.name, ": ", tokenizer.status().message()));
}

// Of the options' models, in their order.
absl::StatusOr<std::vector<ServedModel>> LoadTokenizers(const Options& options) {
  std::vector<ServedModel> models;
  for (const Options::Model& model : options.models) {
    absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer = LoadTokenizer(model);
    if (!tokenizer.ok()) return tokenizer.status();
    models.push_back({.info = {}, .tokenizer = *std::move(tokenizer), .queue = nullptr});
  }
  return models;
}

// `served`: the model as it is served by the devices so far.
void AddDevice(const ModelInfo& info, ModelInfo& served) {
  const std::string others = served.device.empty() ? "" : served.device + ",";
  served = info;
  served.device = others + info.device;
}

absl::Status CheckVocabulary(const ServedModel& model) {
  if (model.tokenizer == nullptr || model.tokenizer->vocab_size() <= model.info.vocab_size) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model ", model.info.name, ": the tokenizer has ", model.tokenizer->vocab_size(),
                   " tokens, more than the model's vocab_size, ", model.info.vocab_size));
}

// Whether requests are served: some device works, and none that works has stalled.
bool AreWell(const std::deque<EngineLoop>& engines, SteadyNs stall_limit) {
  bool any = false;
  for (const EngineLoop& engine : engines) {
    if (!engine.status().ok()) continue;
    if (engine.StalledFor() >= stall_limit) return false;
    any = true;
  }
  return any;
}

// Of devices that are lost, each once.
class LossLog {
 public:
  LossLog(const std::deque<EngineLoop>& engines, spdlog::logger& log)
      : engines_(engines), log_(log), told_(engines.size()) {}

  void Update() {
    for (size_t i = 0; i < told_.size(); ++i) {
      const absl::Status status = engines_[i].status();
      if (status.ok() || told_[i]) continue;
      told_[i] = true;
      log_.error("device {} of {}: {}", i + 1, told_.size(), std::string(status.message()));
    }
  }

 private:
  const std::deque<EngineLoop>& engines_;
  spdlog::logger& log_;
  std::vector<bool> told_;
};

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> CredentialsFor(const Options& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  return MakeTlsServerCredentials(
      {.cert = options.tls_cert, .key = options.tls_key, .client_ca = options.tls_client_ca});
}

// Serves until a signal.
absl::Status Serve(const Options& options, std::vector<std::unique_ptr<Backend>> backends,
                   const std::shared_ptr<spdlog::logger>& log, const sigset_t& signals) {
  const SteadyClock clock;
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = CredentialsFor(options);
  if (!credentials.ok()) return credentials.status();
  std::vector<std::string> names;
  for (const Options::Model& model : options.models) names.push_back(model.name);
  Metrics metrics(names);
  std::optional<VllmMetrics> vllm_metrics;
  if (options.metrics_compat == "vllm") vllm_metrics.emplace(names);

  std::deque<Device> devices;
  std::vector<CostMeter*> meters;
  for (std::unique_ptr<Backend>& backend : backends) {
    meters.push_back(&devices.emplace_back(std::move(backend), options, clock, *log).meter());
  }
  absl::StatusOr<std::unique_ptr<Accounts>> accounts = Accounts::Open(options, log, meters);
  if (!accounts.ok()) return accounts.status();
  absl::StatusOr<std::vector<ServedModel>> served = LoadTokenizers(options);
  if (!served.ok()) return served.status();
  std::vector<LaneOptions> lane_options;
  for (size_t i = 0; i < served->size(); ++i) {
    lane_options.push_back(
        LaneOptionsFor(options, options.models[i], (*served)[i].tokenizer.get()));
  }

  std::vector<StepObserver*> of_all_steps = {&metrics};
  std::vector<RequestObserver*> of_requests = {&metrics};
  if (vllm_metrics) {
    of_all_steps.push_back(&*vllm_metrics);
    of_requests.push_back(&*vllm_metrics);
  }
  StepObservers all_steps(std::move(of_all_steps));
  RequestObservers request_observers(std::move(of_requests));
  LoadSum load_sum(all_steps);
  std::deque<GateMetrics> gate_metrics;
  std::deque<StepObservers> step_observers;
  std::deque<EngineLoop> engines;
  std::deque<MeteredQueue> metered_queues;
  std::vector<LeastLoadedQueue::Device> ways;
  for (Device& device : devices) {
    absl::StatusOr<std::vector<Device::Model>> models = device.Load(lane_options);
    if (!models.ok()) return models.status();
    std::vector<std::unique_ptr<ModelLane>> lanes;
    for (size_t i = 0; i < models->size(); ++i) {
      Device::Model& model = (*models)[i];
      const ModelInfo& info = model.lane->info();
      metrics.SetModel(info, model.load_seconds);
      log->info(
          "model={} residual={} d_v={} parameters={} device={} dtype={} weight_bytes={} "
          "cache_bytes={} cache_tokens={} context={} tokenizer={} load_seconds={:.3f}",
          info.name, info.residual, info.value_channels, info.num_parameters, info.device,
          info.dtype, info.weight_bytes, model.lane->cache_bytes(), model.lane->cache_tokens(),
          info.context_length, (*served)[i].tokenizer != nullptr, model.load_seconds);
      (*accounts)->AddModel(info.name, model.cost);
      AddDevice(info, (*served)[i].info);
      lanes.push_back(std::move(model.lane));
    }
    gate_metrics.emplace_back(*metrics.registry(), names);
    step_observers.emplace_back(std::vector<StepObserver*>{&device.meter(), &load_sum.AddDevice(),
                                                           &gate_metrics.back(), accounts->get()});
    engines.emplace_back(std::move(lanes), clock, step_observers.back(),
                         options.max_queued_requests);
    metered_queues.emplace_back(engines.back(), device.meter());
    ways.push_back({&metered_queues.back(), &engines.back()});
  }
  LeastLoadedQueue least_loaded(std::move(ways));
  RequestQueue& queue = (*accounts)->Front(least_loaded);
  for (ServedModel& model : *served) {
    if (absl::Status status = CheckVocabulary(model); !status.ok()) return status;
    if (options.nanodollars_per_device_hour) {
      model.info.usd_per_device_hour =
          static_cast<double>(*options.nanodollars_per_device_hour) * 1e-9;
    }
    model.queue = &queue;
  }
  const ModelRegistry models(*std::move(served));

  const SteadyNs stall_limit = absl::ToInt64Nanoseconds(options.watchdog);
  const auto engine_is_well = [&engines, stall_limit] { return AreWell(engines, stall_limit); };
  std::unique_ptr<MetricsServer> metrics_server;
  if (!options.metrics.empty()) {
    const auto server_state = [&engine_is_well, &options, ledger = (*accounts)->ledger()] {
      ServerState state = {.engine_healthy = engine_is_well(),
                           .max_waiting = options.max_queued_requests};
      if (ledger != nullptr) {
        state.ledger = {.healthy = ledger->status().ok(), .lost_records = ledger->num_lost()};
      }
      return state;
    };
    std::vector<CostMetrics::Device> metered;
    std::vector<DeviceMetrics::Device> monitored;
    for (Device& device : devices) {
      const std::string name(device.name());
      metered.push_back({name, &device.meter()});
      if (device.nvml() != nullptr) monitored.push_back({name, device.nvml()});
    }
    MetricsServer::Sources sources = {metrics.registry(),
                                      std::make_shared<CostMetrics>(std::move(metered), clock),
                                      std::make_shared<ServerMetrics>(server_state),
                                      std::make_shared<DeviceMetrics>(std::move(monitored))};
    if (vllm_metrics) sources.push_back(vllm_metrics->registry());
    if ((*accounts)->ledger() != nullptr) {
      sources.push_back(std::make_shared<TenantMetrics>(
          [&accounts = **accounts] { return accounts.TenantAccounts(); }));
    }
    absl::StatusOr<std::unique_ptr<MetricsServer>> started =
        MetricsServer::Start(options.metrics, std::move(sources));
    if (!started.ok()) return started.status();
    metrics_server = *std::move(started);
  }
  for (CostMeter* meter : meters) meter->EndOverhead(clock.Now());
  for (EngineLoop& engine : engines) engine.Start();
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(options.listen,
                        {.models = &models,
                         .clock = &clock,
                         .observer = &request_observers,
                         .log = log,
                         .tenants = &(*accounts)->tenants()},
                        {.max_request_bytes = options.max_request_bytes,
                         .max_continuations = options.max_continuations,
                         .max_trace_tokens = options.max_trace_tokens},
                        *credentials);
  if (!server.ok()) return server.status();

  std::unique_ptr<AdminServer> admin_server;
  if (!options.admin.empty()) {
    absl::StatusOr<std::unique_ptr<AdminServer>> started = AdminServer::Start(
        options.admin, &(*accounts)->tenants(), (*accounts)->ledger(), *credentials);
    if (!started.ok()) return started.status();
    admin_server = *std::move(started);
  }

  LossLog losses(engines, *log);  // the watchdog's
  const Watchdog watchdog(
      &(*server)->health(), std::min(absl::Seconds(1), options.watchdog / 4),
      [&engine_is_well, &losses] {
        losses.Update();
        return engine_is_well();
      },
      [&engines, &log](bool well) {
        if (well) {
          log->info("steps go on: SERVING");
          return;
        }
        const bool works =
            std::any_of(engines.begin(), engines.end(),
                        [](const EngineLoop& engine) { return engine.status().ok(); });
        log->error("NOT_SERVING: {}", works ? "steps have stalled" : "no device is left");
      });

  if (metrics_server != nullptr) {
    std::printf("metrics on http://%s/metrics\n", metrics_server->address().c_str());
  }
  if (admin_server != nullptr) {
    std::printf("administration on %s\n", admin_server->address().c_str());
  }
  std::printf("listening on %s\n", (*server)->address().c_str());
  std::fflush(stdout);

  int signal_number = 0;
  while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP) (*accounts)->Reload();
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  // Nothing can end a step that hangs, and nobody can be told: then SIGALRM ends the process.
  alarm(static_cast<unsigned>(absl::ToInt64Seconds(options.drain)) + kHungStepSeconds);
  log->info("{}: draining for at most {}", signal_number == SIGTERM ? "SIGTERM" : "SIGINT",
            absl::FormatDuration(options.drain));
  (*server)->Shutdown(options.drain);
  for (EngineLoop& engine : engines) engine.Stop();
  log->info("stopped");
  return absl::OkStatus();
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  using namespace deltaserve;
  std::vector<std::string> args(argv + 1, argv + argc);
  auto command_line = ParseCommandLine(args);
  std::string choice;  // what --device=auto came to
  if (command_line.ok() && command_line->options.device == "auto") {
    const DeviceChoice chosen = ChooseDevice();
    choice = absl::StrCat("--device auto: ", chosen.device, ", since ", chosen.reason);
    args.push_back("--device=" + chosen.device);
    command_line = ParseCommandLine(args);
  }
  const auto fail = [](const absl::Status& status, int exit_code) {
    std::fprintf(stderr, "deltaserve: %s\n", std::string(status.message()).c_str());
    return exit_code;
  };
  if (!command_line.ok()) return fail(command_line.status(), kUsage);
  if (command_line->help) {
    std::fputs(HelpText().c_str(), stdout);
    return 0;
  }
  const Options& options = command_line->options;
  const sigset_t signals = BlockSignals();
  const auto log = MakeLog(options.log_level);
  if (!choice.empty()) log->info(choice);
  absl::StatusOr<std::vector<std::unique_ptr<Backend>>> devices = OpenDevices(options);
  if (!devices.ok()) return fail(devices.status(), kNoDevice);
  const absl::Status status = Serve(options, *std::move(devices), log, signals);
  return status.ok() ? 0 : fail(status, kCannotServe);
}
