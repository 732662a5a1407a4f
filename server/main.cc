// The composition root: the only place that knows every room.
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "server/accounts.h"
#include "server/api/clock.h"
#include "server/engine/engine_loop.h"
#include "server/engine/model_lane.h"
#include "server/model/calibration.h"
#include "server/model/cost_model.h"
#include "server/options.h"
#include "server/service/admin_service.h"
#include "server/service/grpc_server.h"
#include "server/service/server_tls.h"
#include "server/service/watchdog.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/cost_metrics.h"
#include "server/telemetry/device_metrics.h"
#include "server/telemetry/gate_metrics.h"
#include "server/telemetry/metered_queue.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_server.h"
#include "server/telemetry/nvml_device.h"
#include "server/telemetry/server_metrics.h"
#include "server/telemetry/tenant_metrics.h"
#include "server/telemetry/vllm_metrics.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {
namespace {

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

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const Options& options) {
  if (options.device == "reference") return MakeReferenceBackend();
  return MakeCpuBackend({.num_threads = options.threads});
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

// Null: the device tells nothing of itself.
std::unique_ptr<NvmlDevice> OpenNvml(std::string_view device, spdlog::logger& log) {
  int index = 0;
  constexpr std::string_view kCuda = "cuda:";
  if (!device.starts_with(kCuda) ||
      !absl::SimpleAtoi(std::string(device.substr(kCuda.size())), &index)) {
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<NvmlDevice>> nvml = NvmlDevice::Open(index);
  if (!nvml.ok()) {
    log.warn("energy, utilization and memory of the device are not measured: {}",
             std::string(nvml.status().message()));
    return nullptr;
  }
  if (!(*nvml)->Read()) log.warn("{} does not measure its energy", device);
  return *std::move(nvml);
}

// What a device can do in each dtype: as told, else as measured when it is first asked for.
class Calibration {
 public:
  Calibration(const Options& options, Backend& backend, const Clock& clock, spdlog::logger& log)
      : told_{options.device_gbytes_per_second * 1e9, options.device_tflops * 1e12},
        backend_(backend),
        clock_(clock),
        log_(log) {}

  absl::StatusOr<DevicePeaks> PeaksIn(DType dtype) {
    const auto known = peaks_.find(dtype);
    if (known != peaks_.end()) return known->second;
    DevicePeaks peaks = told_;
    if (peaks.bytes_per_second == 0 || peaks.flops_per_second == 0) {
      const absl::StatusOr<DevicePeaks> measured = MeasurePeaks(backend_, dtype, clock_);
      if (!measured.ok()) {
        return absl::Status(
            measured.status().code(),
            absl::StrCat("cannot measure the device, which --device-gbytes-per-second and "
                         "--device-tflops would spare: ",
                         measured.status().message()));
      }
      if (peaks.bytes_per_second == 0) peaks.bytes_per_second = measured->bytes_per_second;
      if (peaks.flops_per_second == 0) peaks.flops_per_second = measured->flops_per_second;
    }
    log_.info("device={} dtype={} gbytes_per_second={:.3g} tflops={:.3g}", backend_.device(),
              Name(dtype), peaks.bytes_per_second * 1e-9, peaks.flops_per_second * 1e-12);
    return peaks_[dtype] = peaks;
  }

 private:
  const DevicePeaks told_;  // 0: not
  Backend& backend_;
  const Clock& clock_;
  spdlog::logger& log_;
  std::map<DType, DevicePeaks> peaks_;
};

struct LoadedModel {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<ModelLane> lane;
};

absl::StatusOr<LoadedModel> LoadModel(const Options& options, const Options::Model& model,
                                      Backend& backend) {
  const auto failed = [&model](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat("model ", model.name, ": ", status.message()));
  };
  LoadedModel loaded;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(model.path);
  if (tokenizer.ok()) {
    loaded.tokenizer = *std::move(tokenizer);
  } else if (!absl::IsNotFound(tokenizer.status())) {  // without one it serves token ids only
    return failed(tokenizer.status());
  }
  absl::StatusOr<std::unique_ptr<ModelLane>> lane =
      ModelLane::Load(backend, LaneOptionsFor(options, model, loaded.tokenizer.get()));
  if (!lane.ok()) return failed(lane.status());
  loaded.lane = *std::move(lane);
  const int64_t vocab_size = loaded.lane->info().vocab_size;
  if (loaded.tokenizer != nullptr && loaded.tokenizer->vocab_size() > vocab_size) {
    return failed(absl::InvalidArgumentError(
        absl::StrCat("the tokenizer has ", loaded.tokenizer->vocab_size(),
                     " tokens, more than the model's vocab_size, ", vocab_size)));
  }
  return loaded;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> CredentialsFor(const Options& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  return MakeTlsServerCredentials(
      {.cert = options.tls_cert, .key = options.tls_key, .client_ca = options.tls_client_ca});
}

// Serves until a signal.
absl::Status Serve(const Options& options, const sigset_t& signals) {
  const auto log = MakeLog(options.log_level);
  const SteadyClock clock;
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = CredentialsFor(options);
  if (!credentials.ok()) return credentials.status();
  std::vector<std::string> names;
  for (const Options::Model& model : options.models) names.push_back(model.name);
  Metrics metrics(names);
  GateMetrics gate_metrics(*metrics.registry(), names);
  std::optional<VllmMetrics> vllm_metrics;
  if (options.metrics_compat == "vllm") vllm_metrics.emplace(names);

  const SteadyNs started = clock.Now();
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(options);
  if (!backend.ok()) return backend.status();
  const std::unique_ptr<NvmlDevice> nvml = OpenNvml((*backend)->device(), *log);
  NoEnergyCounter no_energy;
  EnergyCounter& energy = nvml != nullptr ? static_cast<EnergyCounter&>(*nvml) : no_energy;
  const Prices prices = {.per_device_hour = options.nanodollars_per_device_hour,
                         .per_kwh = options.nanodollars_per_kwh};
  CostMeter meter(prices, energy, started);
  absl::StatusOr<std::unique_ptr<Accounts>> accounts = Accounts::Open(options, log, meter);
  if (!accounts.ok()) return accounts.status();
  Calibration calibration(options, **backend, clock, *log);
  std::vector<std::unique_ptr<ModelLane>> lanes;
  std::vector<ServedModel> served;
  for (const Options::Model& model : options.models) {
    const SteadyNs begin = clock.Now();
    absl::StatusOr<LoadedModel> loaded = LoadModel(options, model, **backend);
    if (!loaded.ok()) return loaded.status();
    ModelInfo info = loaded->lane->info();
    if (prices.per_device_hour) {
      info.usd_per_device_hour = static_cast<double>(*prices.per_device_hour) * 1e-9;
    }
    const double seconds = static_cast<double>(clock.Now() - begin) * 1e-9;
    metrics.SetModel(info, seconds);
    log->info(
        "model={} residual={} d_v={} parameters={} dtype={} weight_bytes={} cache_bytes={} "
        "context={} tokenizer={} load_seconds={:.3f}",
        info.name, info.residual, info.value_channels, info.num_parameters, info.dtype,
        info.weight_bytes, loaded->lane->cache_bytes(), info.context_length,
        loaded->tokenizer != nullptr, seconds);
    const absl::StatusOr<DevicePeaks> peaks = calibration.PeaksIn(loaded->lane->dtype());
    if (!peaks.ok()) return peaks.status();
    const CostModel cost(loaded->lane->costs(), *peaks);
    meter.AddModel(info.name, cost);
    (*accounts)->AddModel(info.name, cost);
    served.push_back({info, loaded->tokenizer, nullptr});
    lanes.push_back(std::move(loaded->lane));
  }
  (*backend)->ReleaseThread();  // the engine's own thread goes on with it

  std::vector<StepObserver*> of_steps = {&meter, &metrics, &gate_metrics, accounts->get()};
  std::vector<RequestObserver*> of_requests = {&metrics};
  if (vllm_metrics) {
    of_steps.push_back(&*vllm_metrics);
    of_requests.push_back(&*vllm_metrics);
  }
  StepObservers step_observers(std::move(of_steps));
  RequestObservers request_observers(std::move(of_requests));
  EngineLoop engine(std::move(lanes), clock, step_observers, options.max_queued_requests);
  MeteredQueue metered_queue(engine, meter);
  RequestQueue& queue = (*accounts)->Front(metered_queue);
  for (ServedModel& model : served) model.queue = &queue;
  const ModelRegistry models(std::move(served));

  const SteadyNs stall_limit = absl::ToInt64Nanoseconds(options.watchdog);
  const auto engine_is_well = [&engine, stall_limit] {
    return engine.status().ok() && engine.StalledFor() < stall_limit;
  };
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
    MetricsServer::Sources sources = {metrics.registry(),
                                      std::make_shared<CostMetrics>(meter, clock),
                                      std::make_shared<ServerMetrics>(server_state)};
    if (nvml != nullptr) sources.push_back(std::make_shared<DeviceMetrics>(*nvml));
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
  meter.EndOverhead(clock.Now());
  engine.Start();
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

  const Watchdog watchdog(&(*server)->health(), std::min(absl::Seconds(1), options.watchdog / 4),
                          engine_is_well, [&engine, &log](bool well) {
                            if (well) {
                              log->info("steps go on: SERVING");
                            } else {
                              log->error("NOT_SERVING: {}", engine.status().ok()
                                                                ? "steps have stalled"
                                                                : engine.status().ToString());
                            }
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
  engine.Stop();
  log->info("stopped");
  return absl::OkStatus();
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto command_line = deltaserve::ParseCommandLine(args);
  if (!command_line.ok()) {
    std::fprintf(stderr, "deltaserve: %s\n", std::string(command_line.status().message()).c_str());
    return 2;
  }
  if (command_line->help) {
    std::fputs(deltaserve::HelpText().c_str(), stdout);
    return 0;
  }
  const sigset_t signals = deltaserve::BlockSignals();
  const absl::Status status = deltaserve::Serve(command_line->options, signals);
  if (!status.ok()) {
    std::fprintf(stderr, "deltaserve: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
