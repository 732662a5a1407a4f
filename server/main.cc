// The composition root: the only place that knows every room.
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
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
#include "server/fleet.h"
#include "server/fleet_health.h"
#include "server/model/assign_or_return.h"
#include "server/monitoring.h"
#include "server/options.h"
#include "server/served_models.h"
#include "server/service/admin_service.h"
#include "server/service/grpc_server.h"
#include "server/service/server_tls.h"
#include "server/service/watchdog.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/metrics_server.h"

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

// Until SIGTERM or SIGINT, which it returns; SIGHUP has the keys read anew.
int AwaitEnd(const sigset_t& signals, Accounts& accounts) {
  int signal_number = 0;
  while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP) accounts.Reload();
  return signal_number;
}

// Serves until a signal.
absl::Status Serve(const Options& options, std::vector<std::unique_ptr<Backend>> backends,
                   const std::shared_ptr<spdlog::logger>& log, const sigset_t& signals) {
  const SteadyClock clock;
  ASSIGN_OR_RETURN(
      const std::shared_ptr<grpc::ServerCredentials> credentials,
      MakeServerCredentials(
          {.cert = options.tls_cert, .key = options.tls_key, .client_ca = options.tls_client_ca}));
  Monitoring monitoring(options);
  std::deque<Device> devices;
  std::vector<CostMeter*> meters;
  for (std::unique_ptr<Backend>& backend : backends) {
    meters.push_back(&devices.emplace_back(std::move(backend), options, clock, *log).meter());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Accounts> accounts, Accounts::Open(options, log, meters));
  ASSIGN_OR_RETURN(std::vector<ServedModel> models, LoadTokenizers(options));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Fleet> fleet,
      Fleet::Load(options, devices, models,
                  {.clock = clock, .monitoring = monitoring, .accounts = *accounts, .log = *log}));
  ASSIGN_OR_RETURN(const ModelRegistry registry,
                   RegisterModels(options, std::move(models), accounts->Front(fleet->queue())));

  FleetHealth health([&fleet] { return fleet->DeviceStates(); }, options.watchdog, *log);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<MetricsServer> metrics_server,
      monitoring.Serve(options, devices, clock, *accounts, [&health] { return health.IsWell(); }));
  fleet->Start();
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                   GrpcServer::Start(options.listen,
                                     {.models = &registry,
                                      .clock = &clock,
                                      .observer = &monitoring.requests(),
                                      .log = log,
                                      .tenants = &accounts->tenants()},
                                     {.max_request_bytes = options.max_request_bytes,
                                      .max_continuations = options.max_continuations,
                                      .max_trace_tokens = options.max_trace_tokens},
                                     credentials));
  std::unique_ptr<AdminServer> admin_server;
  if (!options.admin.empty()) {
    ASSIGN_OR_RETURN(admin_server, AdminServer::Start(options.admin, &accounts->tenants(),
                                                      accounts->ledger(), credentials));
  }
  const Watchdog watchdog(
      &server->health(), std::min(absl::Seconds(1), options.watchdog / 4),
      [&health] { return health.Watch(); }, [&health](bool well) { health.LogChange(well); });

  if (metrics_server != nullptr) {
    std::printf("metrics on http://%s/metrics\n", metrics_server->address().c_str());
  }
  if (admin_server != nullptr) {
    std::printf("administration on %s\n", admin_server->address().c_str());
  }
  std::printf("listening on %s\n", server->address().c_str());
  std::fflush(stdout);

  const int signal_number = AwaitEnd(signals, *accounts);
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  // Nothing can end a step that hangs, and nobody can be told: then SIGALRM ends the process.
  alarm(static_cast<unsigned>(absl::ToInt64Seconds(options.drain)) + kHungStepSeconds);
  log->info("{}: draining for at most {}", signal_number == SIGTERM ? "SIGTERM" : "SIGINT",
            absl::FormatDuration(options.drain));
  server->Shutdown(options.drain);
  fleet->Stop();
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
