#include "bench/streams.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/stats.h"
#include "bench/stopwatch.h"
#include "server/model/assign_or_return.h"

namespace deltaserve::bench {
namespace {

struct Arrival {
  double seconds = 0;  // since the run began
  int64_t tokens = 0;
};

struct StreamRecord {
  absl::Status status;
  double called_at = 0;
  std::vector<Arrival> arrivals;
};

v1::GenerateRequest MakeRequest(const StreamsOptions& options, int stream) {
  std::minstd_rand random(static_cast<uint32_t>(options.seed * 1000 + stream + 1));
  v1::GenerateRequest request;
  for (int64_t i = 0; i < options.prompt_tokens; ++i) {
    request.mutable_token_ids()->add_ids(static_cast<int32_t>(random() % options.vocab_size));
  }
  request.set_max_tokens(static_cast<int32_t>(options.generated_tokens));
  request.set_temperature(0);
  request.set_ignore_eos(true);
  return request;
}

StreamRecord RunStream(const Client& client, const v1::GenerateRequest& request,
                       const Stopwatch& stopwatch) {
  StreamRecord record;
  record.called_at = stopwatch.Seconds();
  GenerationStream stream = client.GenerateStream(request);
  int64_t received = 0;
  for (v1::GenerateChunk chunk; stream.Read(&chunk);) {
    int64_t tokens = 0;
    for (const v1::Sample& sample : chunk.samples()) tokens += sample.token_ids_size();
    if (tokens > 0) record.arrivals.push_back({stopwatch.Seconds(), tokens});
    received += tokens;
  }
  record.status = stream.Finish();
  if (record.status.ok() && received != request.max_tokens()) {
    record.status = absl::InternalError(
        absl::StrCat("a stream gave ", received, " tokens of ", request.max_tokens()));
  }
  return record;
}

absl::StatusOr<StreamsReport> Summarize(const std::vector<StreamRecord>& records) {
  double begin = 0, end = std::numeric_limits<double>::max();
  std::vector<double> times_to_first_token;
  for (const StreamRecord& record : records) {
    RETURN_IF_ERROR(record.status);
    begin = std::max(begin, record.arrivals.front().seconds);
    end = std::min(end, record.arrivals.back().seconds);
    times_to_first_token.push_back(record.arrivals.front().seconds - record.called_at);
  }
  StreamsReport report;
  report.time_to_first_token_s = Median(std::move(times_to_first_token));
  if (end <= begin) return report;
  int64_t tokens = 0;
  for (const StreamRecord& record : records) {
    for (const Arrival& arrival : record.arrivals) {
      if (arrival.seconds > begin && arrival.seconds <= end) tokens += arrival.tokens;
    }
  }
  report.tokens_per_s = static_cast<double>(tokens) / (end - begin);
  return report;
}

}  // namespace

absl::StatusOr<StreamsReport> RunStreams(const Client& client, const StreamsOptions& options,
                                         const std::function<void()>& while_running) {
  std::vector<StreamRecord> records(options.num_streams);
  std::atomic<int> running = options.num_streams;
  std::latch ready(options.num_streams);
  const Stopwatch stopwatch;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < options.num_streams; ++i) {
      threads.emplace_back([&, i] {
        const v1::GenerateRequest request = MakeRequest(options, i);
        ready.arrive_and_wait();
        records[i] = RunStream(client, request, stopwatch);
        --running;
      });
    }
    while (running > 0) {
      while_running();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  return Summarize(records);
}

}  // namespace deltaserve::bench
