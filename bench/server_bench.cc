#include "bench/server_bench.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bench/random_models.h"
#include "bench/streams.h"
#include "server/model/assign_or_return.h"
#include "tests/support/process/server_process.h"

namespace deltaserve::bench {
namespace {

constexpr int kNumStreams[] = {1, 32};
constexpr int kMaxStreams = 32;

absl::StatusOr<int64_t> ResidentBytes(pid_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/status");
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == "VmRSS:" && file >> kib) return kib << 10;
  }
  return absl::NotFoundError(absl::StrCat(path, " tells no VmRSS"));
}

// The value of the first "key=123" in a log.
absl::StatusOr<int64_t> LoggedNumber(absl::string_view log, absl::string_view key) {
  const std::string prefix = absl::StrCat(" ", key, "=");
  const size_t at = log.find(prefix);
  int64_t number = 0;
  if (at != absl::string_view::npos) {
    log.remove_prefix(at + prefix.size());
    if (absl::SimpleAtoi(log.substr(0, log.find_first_not_of("0123456789")), &number)) {
      return number;
    }
  }
  return absl::NotFoundError(absl::StrCat("the server's log tells no ", key));
}

struct ServedModel {
  ServerProcess process;
  Client client;
  ServerResult result;
};

absl::StatusOr<ServedModel> Start(const Options& options, ResidualKind kind) {
  ASSIGN_OR_RETURN(const std::filesystem::path dir,
                   RandomModel(options.models_dir, options.shape, kind, options.dtype));
  // No more cache than the streams need, so that the limit of resident memory says something.
  const int64_t cached_tokens =
      kMaxStreams * (options.PromptTokens() + Options::kGeneratedTokens + 64);
  ASSIGN_OR_RETURN(ServerProcess process,
                   ServerProcess::Start(
                       {"--model", std::string(Name(kind)) + "=" + dir.string(), "--device",
                        options.device, "--dtype", std::string(Name(options.dtype)), "--threads",
                        absl::StrCat(options.threads), "--max-sequences", absl::StrCat(kMaxStreams),
                        "--kv-cache-tokens", absl::StrCat(cached_tokens)}));
  ServerResult result;
  result.kind = kind;
  const std::string log = process.process().err();
  ASSIGN_OR_RETURN(result.weight_bytes, LoggedNumber(log, "weight_bytes"));
  ASSIGN_OR_RETURN(result.cache_bytes, LoggedNumber(log, "cache_bytes"));
  ASSIGN_OR_RETURN(result.rss_loaded_bytes, ResidentBytes(process.process().pid()));
  Client client = Client::Connect(process.address());
  return ServedModel{std::move(process), std::move(client), std::move(result)};
}

absl::Status RunRound(const Options& options, int num_streams, uint64_t seed, ServedModel& model) {
  StreamsOptions streams;
  streams.num_streams = num_streams;
  streams.prompt_tokens = options.PromptTokens();
  streams.generated_tokens = Options::kGeneratedTokens;
  streams.vocab_size = ShapeConfig(options.shape, model.result.kind).vocab_size;
  streams.seed = seed;
  int64_t& most = model.result.rss_busy_bytes;
  const auto watch_memory = [&] {
    const absl::StatusOr<int64_t> resident = ResidentBytes(model.process.process().pid());
    if (resident.ok()) most = std::max(most, *resident);
  };
  ASSIGN_OR_RETURN(const StreamsReport report, RunStreams(model.client, streams, watch_memory));
  model.result.streams[num_streams].push_back(
      {report.tokens_per_s, report.time_to_first_token_s * 1e3});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunServerBench(const Options& options, Results& results) {
  std::vector<ServedModel> models;
  for (const ResidualKind kind : options.residuals) {
    std::fprintf(stderr, "starting a server of %s\n", std::string(Name(kind)).c_str());
    ASSIGN_OR_RETURN(ServedModel model, Start(options, kind));
    models.push_back(std::move(model));
  }
  // Round 0 warms up: connections, compiled products, memory.
  for (int round = 0; round <= options.repeats; ++round) {
    for (const int num_streams : kNumStreams) {
      for (ServedModel& model : models) {
        RETURN_IF_ERROR(RunRound(options, num_streams, round, model));
        if (round == 0) model.result.streams.clear();
      }
    }
    std::fprintf(stderr, "server: round %d of %d\n", round, options.repeats);
  }
  for (ServedModel& model : models) {
    ASSIGN_OR_RETURN(const int exit_status, model.process.Stop());
    if (exit_status != 0) {
      return absl::InternalError(absl::StrCat("the server left with ", exit_status));
    }
    results.server.push_back(std::move(model.result));
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::bench
