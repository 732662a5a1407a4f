#include "tests/service/test_server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <spdlog/sinks/base_sink.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

namespace deltaserve {

std::shared_ptr<const Tokenizer> ByteTokenizer() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({.bytes = std::string(1, static_cast<char>(byte))});
  }
  vocabulary.tokens.push_back({.bytes = std::string(kEndOfText), .special = true});
  vocabulary.tokens.push_back({.bytes = "wor"});
  vocabulary.tokens.push_back({.bytes = "ld"});
  vocabulary.tokens.push_back({.bytes = "\xE2\x82"});
  return Tokenizer::Create(std::move(vocabulary)).value();
}

ModelInfo TinyModel() {
  ModelInfo info;
  info.name = "tiny";
  info.residual = "ddl_cc";
  info.value_channels = 4;
  info.vocab_size = kVocabSize;
  info.context_length = 64;
  info.num_layers = 2;
  info.hidden_size = 8;
  info.num_heads = 2;
  info.head_dim = 4;
  info.dtype = "fp32";
  info.device = "cpu";
  info.eos_token_id = kEndOfTextId;
  info.max_sequence_tokens = 64;
  info.max_sequences = 8;
  return info;
}

std::vector<SampledToken> Tokens(std::string_view text) {
  std::vector<SampledToken> tokens;
  for (char c : text) tokens.push_back({.id = static_cast<unsigned char>(c), .top = {}});
  return tokens;
}

absl::Status FakeQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  MutexLock lock(&mutex_);
  if (answer_.ok()) generates_.push_back({std::move(request), std::move(sink)});
  called_.NotifyAll();
  return answer_;
}

absl::Status FakeQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  MutexLock lock(&mutex_);
  if (answer_.ok()) scores_.push_back({std::move(request), std::move(sink)});
  called_.NotifyAll();
  return answer_;
}

void FakeQueue::Cancel(RequestId id) {
  MutexLock lock(&mutex_);
  cancelled_.push_back(id);
  called_.NotifyAll();
}

void FakeQueue::StopSample(RequestId id, int32_t sample) {
  MutexLock lock(&mutex_);
  stopped_.emplace_back(id, sample);
  called_.NotifyAll();
}

void FakeQueue::Answer(absl::Status status) {
  MutexLock lock(&mutex_);
  answer_ = std::move(status);
}

FakeQueue::Generate FakeQueue::NextGenerate() {
  MutexLock lock(&mutex_);
  const auto any = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !generates_.empty(); };
  called_.Wait(&mutex_, any);
  Generate next = std::move(generates_.front());
  generates_.pop_front();
  return next;
}

FakeQueue::Score FakeQueue::NextScore() {
  MutexLock lock(&mutex_);
  const auto any = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !scores_.empty(); };
  called_.Wait(&mutex_, any);
  Score next = std::move(scores_.front());
  scores_.pop_front();
  return next;
}

void FakeQueue::AwaitCancel(RequestId id) {
  MutexLock lock(&mutex_);
  const auto cancelled = [this, id]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::find(cancelled_.begin(), cancelled_.end(), id) != cancelled_.end();
  };
  called_.Wait(&mutex_, cancelled);
}

void FakeQueue::AwaitStop(RequestId id, int32_t sample) {
  MutexLock lock(&mutex_);
  const auto stopped = [this, id, sample]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::count(stopped_.begin(), stopped_.end(), std::pair(id, sample)) > 0;
  };
  called_.Wait(&mutex_, stopped);
}

bool FakeQueue::stopped(RequestId id, int32_t sample) {
  MutexLock lock(&mutex_);
  return std::count(stopped_.begin(), stopped_.end(), std::pair(id, sample)) > 0;
}

void RecordingObserver::OnReceived(Method method) {
  MutexLock lock(&mutex_);
  received_.push_back(method);
}

void RecordingObserver::OnFinished(Method method, std::string_view model,
                                   const absl::Status& status, const Usage& usage, SteadyNs) {
  MutexLock lock(&mutex_);
  finished_.push_back({method, std::string(model), status.code(), usage});
  one_finished_.NotifyAll();
}

void RecordingObserver::OnInterTokenLatency(std::string_view, SteadyNs, int64_t tokens) {
  MutexLock lock(&mutex_);
  latency_tokens_ += tokens;
}

std::vector<Method> RecordingObserver::received() const {
  MutexLock lock(&mutex_);
  return received_;
}

std::vector<RecordingObserver::Finished> RecordingObserver::finished() const {
  MutexLock lock(&mutex_);
  return finished_;
}

int64_t RecordingObserver::latency_tokens() const {
  MutexLock lock(&mutex_);
  return latency_tokens_;
}

std::vector<RecordingObserver::Finished> RecordingObserver::AwaitFinished(size_t count) const {
  MutexLock lock(&mutex_);
  const auto enough = [this, count]()
                          ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return finished_.size() >= count; };
  one_finished_.Wait(&mutex_, enough);
  return finished_;
}

class TestServer::LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::string text() {
    std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    text_.append(message.payload.data(), message.payload.size()).append("\n");
  }
  void flush_() override {}

  std::string text_;
};

namespace {

std::vector<ServedModel> Models(const TestServer::Options& options, RequestQueue* queue) {
  std::vector<ServedModel> models = {{options.info, options.tokenizer, queue}};
  for (const std::string& name : options.more_models) {
    models.push_back(models.front());
    models.back().info.name = name;
  }
  return models;
}

}  // namespace

TestServer::TestServer(Options options)
    : models_(Models(options, &queue_)), log_(std::make_shared<LogSink>()) {
  if (options.keys_path.empty()) {
    tenants_ = std::make_unique<Tenants>();
  } else {
    tenants_ = Tenants::Load(options.keys_path).value();
  }
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start("127.0.0.1:0",
                        {.models = &models_,
                         .clock = &clock_,
                         .observer = &observer_,
                         .log = std::make_shared<spdlog::logger>("test", log_),
                         .tenants = tenants_.get()},
                        options.limits);
  if (!server.ok()) throw std::runtime_error(server.status().ToString());
  server_ = *std::move(server);
  channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  stub_ = v1::InferenceService::NewStub(channel_);
}

std::string TestServer::log() const { return log_->text(); }

std::unique_ptr<v1::Usage> TrailingUsage(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("deltaserve-usage-bin");
  if (found == metadata.end()) return nullptr;
  auto usage = std::make_unique<v1::Usage>();
  return usage->ParseFromArray(found->second.data(), static_cast<int>(found->second.size()))
             ? std::move(usage)
             : nullptr;
}

}  // namespace deltaserve
