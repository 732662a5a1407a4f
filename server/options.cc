#include "server/options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "deltaserve/v1/config.pb.h"
#include "proto/text_file.h"
#include "proto/usd.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

constexpr absl::string_view kCuda = "cuda:";

using google::protobuf::FieldDescriptor;
using v1::ServerConfig;

// The flags besides --model, --config and --help: each sets the field of its name.
struct Flag {
  const char* name;
  const char* value;
  const char* help;
};

constexpr Flag kFlags[] = {
    {"listen", "HOST:PORT", "serve gRPC here; port 0: any free one (127.0.0.1:50051)"},
    {"metrics", "HOST:PORT", "serve Prometheus metrics here; empty: nowhere (127.0.0.1:9464)"},
    {"metrics-compat", "NAME", "vllm: metrics under vLLM's names, too (none)"},
    {"device", "NAMES", "cpu, cuda:N[,cuda:M...], reference; auto: cuda:0, else cpu (cpu)"},
    {"dtype", "NAME", "hold weights as bf16 or fp32; auto: as stored (auto)"},
    {"threads", "N", "compute threads; 0: one a core (0)"},
    {"gpu-memory-utilization", "N", "the part of a GPU's free memory to use (0.9)"},
    {"max-batch-tokens", "N", "tokens of one step (512; on a GPU 2048)"},
    {"max-sequences", "N", "sequences that run at once, per model (64; on a GPU 256)"},
    {"kv-cache-tokens", "N", "of each model (max-sequences x 512; on a GPU what its memory holds)"},
    {"max-queued-requests", "N", "requests that wait, per model; more are refused (512)"},
    {"max-queued-requests-per-tenant", "N", "of these, for one tenant (with keys: half of them)"},
    {"max-request-bytes", "N", "length of a request's message (4194304)"},
    {"max-continuations", "N", "continuations of a Score (256)"},
    {"max-trace-tokens", "N", "tokens of a traced Score (4096)"},
    {"watchdog-seconds", "S", "a step that takes longer turns health NOT_SERVING (10)"},
    {"drain-seconds", "S", "at SIGTERM, how long requests under way may take (30)"},
    {"log-level", "NAME", "debug, info, warn or error (info)"},
    {"usd-per-device-hour", "USD", "price of the device, to show what requests cost (none)"},
    {"usd-per-kwh", "USD", "price of its energy beside that, where it is measured (none)"},
    {"device-gbytes-per-second", "N", "1e9 bytes it reads in a second; 0: measure (0)"},
    {"device-tflops", "N", "1e12 FLOPs of its matrix product in a second; 0: measure (0)"},
    {"keys", "FILE", "who may call, and what each may have; deltactl keys adds to it (anybody)"},
    {"tls-cert", "FILE",
     "certificate, for TLS on --listen and --admin; read anew on change (none)"},
    {"tls-key", "FILE", "its private key (none)"},
    {"tls-client-ca", "FILE", "callers need a certificate of these authorities (none)"},
    {"insecure", "", "allow keys without TLS beyond loopback"},
    {"ledger", "FILE", "keep the usage of every request here; needed for budgets (none)"},
    {"ledger-failure", "NAME", "where it cannot be written: refuse or continue (refuse)"},
    {"admin", "HOST:PORT", "serve AdminService here (nowhere)"},
};

absl::Status Invalid(absl::string_view flag, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", problem));
}

std::string Quote(absl::string_view text) {
  return QuotedBytes(std::string_view(text.data(), text.size()));
}

std::string FieldName(absl::string_view flag) { return absl::StrReplaceAll(flag, {{"-", "_"}}); }

// Sets the field of the flag's name from text.
absl::Status SetField(absl::string_view flag, const std::string& value, ServerConfig* config) {
  const auto* reflection = config->GetReflection();
  const FieldDescriptor* field = config->GetDescriptor()->FindFieldByName(FieldName(flag));
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t number;
      if (!absl::SimpleAtoi(value, &number)) break;
      reflection->SetInt32(config, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t number;
      if (!absl::SimpleAtoi(value, &number)) break;
      reflection->SetInt64(config, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool yes;
      if (!absl::SimpleAtob(value, &yes)) {
        return Invalid(flag, absl::StrCat(Quote(value), " is neither true nor false"));
      }
      reflection->SetBool(config, field, yes);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number;
      if (!absl::SimpleAtod(value, &number)) break;
      reflection->SetDouble(config, field, number);
      return absl::OkStatus();
    }
    default:
      reflection->SetString(config, field, value);
      return absl::OkStatus();
  }
  return Invalid(flag, absl::StrCat(Quote(value), " is not a number"));
}

// Stands for itself.
bool IsSwitch(absl::string_view flag) {
  const FieldDescriptor* field = ServerConfig::descriptor()->FindFieldByName(FieldName(flag));
  return field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL;
}

absl::Status AddModel(const std::string& value, ServerConfig* config) {
  const size_t equals = value.find('=');
  if (equals == std::string::npos) {
    return Invalid("model", absl::StrCat(Quote(value), " is not NAME=DIR"));
  }
  ServerConfig::Model* model = config->add_models();
  model->set_name(value.substr(0, equals));
  model->set_path(value.substr(equals + 1));
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> ReadConfig(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) {
    return absl::Status(text.status().code(), absl::StrCat("--config: ", text.status().message()));
  }
  ServerConfig config;
  if (absl::Status status = ParseText(path, *text, &config); !status.ok()) return status;
  return config;
}

// The arguments as they are, before the file is read.
struct Arguments {
  bool help = false;
  std::optional<std::string> config_path;
  ServerConfig flags;
};

absl::StatusOr<Arguments> ReadArguments(absl::Span<const std::string> args) {
  Arguments read;
  for (size_t i = 0; i < args.size(); ++i) {
    absl::string_view arg = args[i];
    if (arg == "--help" || arg == "-h") {
      read.help = true;
      return read;
    }
    if (arg.substr(0, 2) != "--") {
      return absl::InvalidArgumentError(absl::StrCat(Quote(arg), " is not a flag; see --help"));
    }
    arg.remove_prefix(2);
    const size_t equals = arg.find('=');
    const std::string name = absl::StrReplaceAll(arg.substr(0, equals), {{"_", "-"}});
    const bool known = name == "model" || name == "config" ||
                       std::any_of(std::begin(kFlags), std::end(kFlags),
                                   [&name](const Flag& flag) { return flag.name == name; });
    if (!known) return Invalid(name, "unknown flag; see --help");
    std::string value;
    if (equals != absl::string_view::npos) {
      value = std::string(arg.substr(equals + 1));
    } else if (IsSwitch(name)) {
      value = "true";
    } else if (++i < args.size()) {
      value = args[i];
    } else {
      return Invalid(name, "needs a value");
    }

    absl::Status status;
    if (name == "model") {
      status = AddModel(value, &read.flags);
    } else if (name == "config") {
      read.config_path = value;
    } else {
      status = SetField(name, value, &read.flags);
    }
    if (!status.ok()) return status;
  }
  return read;
}

// Of an address that only this machine reaches.
bool IsLoopback(absl::string_view address) {
  const absl::string_view host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

// Collects the first problem of a configuration's values.
class Checker {
 public:
  // The value, or its default where there is none, which must lie in [least, most].
  template <typename T>
  T Number(absl::string_view flag, bool has, T value, T otherwise, T least,
           T most = std::numeric_limits<T>::max()) {
    const T chosen = has ? value : otherwise;
    if (!(chosen >= least && chosen <= most)) {
      status_.Update(Invalid(flag, absl::StrCat(chosen, " is outside [", least, ", ", most, "]")));
    }
    return chosen;
  }

  std::string Choice(absl::string_view flag, bool has, const std::string& value,
                     const std::vector<std::string>& choices) {
    const std::string chosen = has ? value : choices.front();
    if (std::find(choices.begin(), choices.end(), chosen) == choices.end()) {
      status_.Update(
          Invalid(flag, absl::StrCat(Quote(chosen), " is none of ", absl::StrJoin(choices, ", "))));
    }
    return chosen;
  }

  // The numbers of `cuda:N,cuda:M`; none where it is something else.
  std::vector<int32_t> CudaDevices(absl::string_view flag, const std::string& value) {
    std::vector<int32_t> devices;
    if (!absl::StartsWith(value, kCuda)) return devices;
    for (absl::string_view name : absl::StrSplit(value, ',')) {
      int32_t device = -1;
      if (!absl::ConsumePrefix(&name, kCuda) || !absl::SimpleAtoi(name, &device) || device < 0) {
        status_.Update(Invalid(flag, absl::StrCat(Quote(value), " is not cuda:N[,cuda:M...]")));
      } else if (std::find(devices.begin(), devices.end(), device) != devices.end()) {
        status_.Update(Invalid(flag, absl::StrCat(kCuda, device, " is given twice")));
      }
      devices.push_back(device);
    }
    return devices;
  }

  std::string Address(absl::string_view flag, bool has, const std::string& value,
                      const std::string& otherwise) {
    const std::string chosen = has ? value : otherwise;
    const size_t colon = chosen.rfind(':');
    uint32_t port = 0;
    if (colon == std::string::npos || colon == 0 ||
        !absl::SimpleAtoi(chosen.substr(colon + 1), &port) || port > 65535) {
      status_.Update(Invalid(flag, absl::StrCat(Quote(chosen), " is not HOST:PORT")));
    }
    return chosen;
  }

  // A decimal of USD, in nanodollars.
  std::optional<int64_t> Price(absl::string_view flag, bool has, const std::string& value) {
    if (!has) return std::nullopt;
    const absl::StatusOr<int64_t> nanodollars = ParseUsd(value, kNanodollarPlaces);
    if (nanodollars.ok()) return *nanodollars;
    status_.Update(Invalid(flag, nanodollars.status().message()));
    return std::nullopt;
  }

  void Models(const ServerConfig& config, std::vector<Options::Model>* models) {
    if (config.models().empty()) status_.Update(Invalid("model", "none is given; see --help"));
    std::set<std::string> names;
    for (const ServerConfig::Model& model : config.models()) {
      // Names go into logs and messages as they are.
      const bool printable = std::all_of(model.name().begin(), model.name().end(),
                                         [](unsigned char c) { return c > ' ' && c != 0x7F; }) &&
                             ValidUtf8Prefix(model.name()) == model.name().size();
      if (model.name().empty() || !printable) {
        status_.Update(Invalid("model", absl::StrCat(Quote(model.name()), " cannot be a name")));
      } else if (!names.insert(model.name()).second) {
        status_.Update(Invalid("model", absl::StrCat(model.name(), " is given twice")));
      } else if (model.path().empty()) {
        status_.Update(Invalid("model", absl::StrCat(model.name(), " has no folder")));
      }
      models->push_back({model.name(), model.path()});
    }
  }

  void Exposure(bool insecure, const Options& options) {
    if (insecure) return;
    if (!options.admin.empty() && !IsLoopback(options.admin) && options.keys.empty() &&
        options.tls_client_ca.empty()) {
      Fail(Invalid("admin", absl::StrCat("without --keys anybody who reaches ", options.admin,
                                         " sees all; --insecure allows it")));
    }
    for (const std::string& address : {options.listen, options.admin}) {
      const bool has_keys = !options.keys.empty() && !address.empty();
      if (!has_keys || !options.tls_cert.empty() || IsLoopback(address)) continue;
      Fail(Invalid("keys", absl::StrCat("they would come to ", address,
                                        " without TLS; see --tls-cert; --insecure allows it")));
    }
  }

  void Tls(const Options& options) {
    if (options.tls_cert.empty() != options.tls_key.empty()) {
      Fail(options.tls_cert.empty() ? Invalid("tls-key", "needs --tls-cert beside it")
                                    : Invalid("tls-cert", "needs --tls-key beside it"));
    } else if (options.tls_cert.empty() && !options.tls_client_ca.empty()) {
      Fail(Invalid("tls-client-ca", "needs --tls-cert and --tls-key beside it"));
    }
  }

  void Fail(absl::Status status) { status_.Update(std::move(status)); }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

absl::StatusOr<Options> Check(const ServerConfig& c) {
  constexpr double kLongestSeconds = 86400;
  Checker check;
  Options o;
  check.Models(c, &o.models);
  o.listen = check.Address("listen", c.has_listen(), c.listen(), "127.0.0.1:50051");
  if (!c.has_metrics() || !c.metrics().empty()) {
    o.metrics = check.Address("metrics", c.has_metrics(), c.metrics(), "127.0.0.1:9464");
  }
  o.metrics_compat =
      check.Choice("metrics-compat", c.has_metrics_compat(), c.metrics_compat(), {"none", "vllm"});
  o.cuda_devices = check.CudaDevices("device", c.device());
  const bool on_gpu = !o.cuda_devices.empty();
  o.device = on_gpu ? c.device()
                    : check.Choice("device", c.has_device(), c.device(),
                                   {"cpu", "reference", "auto", "cuda:N[,cuda:M...]"});
  o.gpu_memory_utilization = check.Number("gpu-memory-utilization", c.has_gpu_memory_utilization(),
                                          c.gpu_memory_utilization(), 0.9, 0.01, 1.0);
  o.dtype = check.Choice("dtype", c.has_dtype(), c.dtype(), {"auto", "bf16", "fp32"});
  o.threads = check.Number("threads", c.has_threads(), c.threads(), 0, 0, 1024);
  o.max_batch_tokens = check.Number("max-batch-tokens", c.has_max_batch_tokens(),
                                    c.max_batch_tokens(), on_gpu ? 2048 : 512, 1);
  o.max_sequences = check.Number("max-sequences", c.has_max_sequences(), c.max_sequences(),
                                 on_gpu ? 256 : 64, 1, 1 << 16);
  if (o.max_batch_tokens < o.max_sequences) {
    check.Fail(Invalid("max-batch-tokens",
                       absl::StrCat(o.max_batch_tokens, " is less than max-sequences, ",
                                    o.max_sequences, ", which all decode in one step")));
  }
  if (c.has_kv_cache_tokens() || !on_gpu) {
    o.kv_cache_tokens =
        check.Number<int64_t>("kv-cache-tokens", c.has_kv_cache_tokens(), c.kv_cache_tokens(),
                              int64_t{o.max_sequences} * 512, 1, int64_t{1} << 40);
  }
  o.max_queued_requests = check.Number("max-queued-requests", c.has_max_queued_requests(),
                                       c.max_queued_requests(), 512, 1);
  o.max_request_bytes = check.Number("max-request-bytes", c.has_max_request_bytes(),
                                     c.max_request_bytes(), 4 << 20, 1);
  o.max_continuations =
      check.Number("max-continuations", c.has_max_continuations(), c.max_continuations(), 256, 1);
  o.max_trace_tokens =
      check.Number("max-trace-tokens", c.has_max_trace_tokens(), c.max_trace_tokens(), 4096, 0);
  o.watchdog = absl::Seconds(check.Number("watchdog-seconds", c.has_watchdog_seconds(),
                                          c.watchdog_seconds(), 10.0, 0.1, kLongestSeconds));
  o.drain = absl::Seconds(check.Number("drain-seconds", c.has_drain_seconds(), c.drain_seconds(),
                                       30.0, 0.0, kLongestSeconds));
  o.log_level = check.Choice("log-level", c.has_log_level(), c.log_level(),
                             {"info", "debug", "warn", "error"});
  o.nanodollars_per_device_hour =
      check.Price("usd-per-device-hour", c.has_usd_per_device_hour(), c.usd_per_device_hour());
  o.nanodollars_per_kwh = check.Price("usd-per-kwh", c.has_usd_per_kwh(), c.usd_per_kwh());
  o.device_gbytes_per_second =
      check.Number("device-gbytes-per-second", c.has_device_gbytes_per_second(),
                   c.device_gbytes_per_second(), 0.0, 0.0, 1e9);
  o.device_tflops =
      check.Number("device-tflops", c.has_device_tflops(), c.device_tflops(), 0.0, 0.0, 1e9);
  o.keys = c.keys();
  o.max_queued_requests_per_tenant =
      check.Number("max-queued-requests-per-tenant", c.has_max_queued_requests_per_tenant(),
                   c.max_queued_requests_per_tenant(),
                   o.keys.empty() ? o.max_queued_requests : (o.max_queued_requests + 1) / 2, 1);
  o.ledger = c.ledger();
  o.ledger_failure = check.Choice("ledger-failure", c.has_ledger_failure(), c.ledger_failure(),
                                  {"refuse", "continue"});
  if (!c.admin().empty()) o.admin = check.Address("admin", true, c.admin(), "");
  o.tls_cert = c.tls_cert();
  o.tls_key = c.tls_key();
  o.tls_client_ca = c.tls_client_ca();
  check.Tls(o);
  check.Exposure(c.insecure(), o);
  if (!check.status().ok()) return check.status();
  return o;
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> args) {
  absl::StatusOr<Arguments> arguments = ReadArguments(args);
  if (!arguments.ok()) return arguments.status();
  if (arguments->help) return CommandLine{.help = true, .options = {}};

  ServerConfig config;
  if (arguments->config_path.has_value()) {
    absl::StatusOr<ServerConfig> file = ReadConfig(*arguments->config_path);
    if (!file.ok()) return file.status();
    config = *std::move(file);
    if (arguments->flags.models_size() > 0) config.clear_models();
  }
  config.MergeFrom(arguments->flags);
  absl::StatusOr<Options> options = Check(config);
  if (!options.ok()) return options.status();
  return CommandLine{.help = false, .options = *std::move(options)};
}

std::string HelpText() {
  constexpr size_t kColumn = 30;
  std::string text =
      "Usage: deltaserve --model NAME=DIR [--model NAME=DIR ...] [flags]\n"
      "Serves Deep Delta Learning decoders over gRPC.\n\n"
      "  --model NAME=DIR            a folder with config.json and model.safetensors; repeatable\n"
      "  --config FILE               a ServerConfig in protobuf text format; flags win over it\n";
  for (const Flag& flag : kFlags) {
    std::string left = absl::StrCat("  --", flag.name, " ", flag.value);
    left.resize(std::max(left.size() + 1, kColumn), ' ');
    absl::StrAppend(&text, left, flag.help, "\n");
  }
  absl::StrAppend(&text, "  --help                      this\n");
  return text;
}

}  // namespace deltaserve
