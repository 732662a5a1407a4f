#include "client/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <type_traits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/bench_command_line.h"
#include "client/cli/command_options.h"

namespace deltaserve::cli {
namespace {

// The command line in the making: the requests of all commands, of which one is used.
struct Draft {
  CommandLine line;
  v1::GenerateRequest generate;
  v1::ScoreRequest score;
  v1::TokenizeRequest tokenize;
  v1::GetModelRequest model;
  v1::GetUsageRequest usage;
  CommandLine::AddKey key;
  CommandLine::Bench bench;
  CommandLine::Cost cost;
  CommandLine::CheckHealth health;
  bool has_prompt = false;  // as text, ids or a file
};

void ParseIds(const std::string& list, google::protobuf::RepeatedField<int32_t>* ids) {
  for (absl::string_view id : absl::StrSplit(list, ',')) ids->Add(ParseNumber<int32_t>(id));
}

CLI::Option* AddRepeatable(CLI::App& command, const std::string& name,
                           const std::string& value_name, const std::string& help, Handler handle) {
  return AddOption(command, name, value_name, help + "; may be repeated", std::move(handle))
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

template <typename Request, typename T>
void AddNumber(CLI::App& command, const std::string& name, Request& request,
               void (Request::*set)(T), const std::string& help) {
  AddOption(command, name, std::is_floating_point_v<T> ? "NUMBER" : "INTEGER", help,
            [&request, set](const std::string& value) { (request.*set)(ParseNumber<T>(value)); });
}

template <typename Request>
void AddSwitch(CLI::App& command, const std::string& name, Request& request,
               void (Request::*set)(bool), const std::string& help) {
  command.add_flag_callback(
      name, [&request, set] { (request.*set)(true); }, help);
}

void AddConnectionOptions(CLI::App& command, CommandLine& line) {
  AddOption(command, "--address", "HOST:PORT", "The server (default " + line.address + ")",
            [&line](const std::string& value) { line.address = value; });
  AddOption(command, "--timeout", "SECONDS", "Give up after this long (default: never)",
            [&line](const std::string& value) {
              const float seconds = ParseNumber<float>(value);
              if (!(seconds > 0)) throw BadValue{value + " is not above 0"};
              line.timeout = absl::Seconds(seconds);
            });
  AddOption(command, "--key-file", "PATH",
            "Your API key is in here (default: in $DELTASERVE_API_KEY, if anywhere)",
            [&line](const std::string& value) { line.key_path = value; });
  const auto add_tls = [&](const char* name, std::string ClientTlsFiles::*file, const char* help) {
    AddOption(command, name, "PATH", help, [&line, file](const std::string& value) {
      if (!line.tls) line.tls.emplace();
      (*line.tls).*file = value;
    });
  };
  command.add_flag_callback(
      "--tls", [&line] { line.tls = line.tls.value_or(ClientTlsFiles()); },
      "Connect with TLS, to a server that an authority known to gRPC vouches for");
  add_tls("--tls-ca", &ClientTlsFiles::ca, "With TLS, to a server of this authority (PEM)");
  add_tls("--tls-cert", &ClientTlsFiles::cert, "With TLS, showing this certificate (PEM)");
  add_tls("--tls-key", &ClientTlsFiles::key, "Its private key (PEM)");
  command.add_flag("--json", line.json, "Print one JSON object");
}

template <typename Request>
void AddModel(CLI::App& command, Request& request, const std::string& help) {
  AddOption(command, "--model", "NAME", help,
            [&request](const std::string& value) { request.set_model(value); });
}

constexpr char kModelHelp[] = "May be left out where the server has one model only";

// The text as an argument or from --file.
template <typename Request>
std::vector<CLI::Option*> AddText(CLI::App& command, Draft& draft, Request& request) {
  CLI::Option* text = AddOption(command, "text", " ",
                                "Left out: read from standard input; after -- it may begin with -",
                                [&draft, &request](const std::string& value) {
                                  request.set_text(value);
                                  draft.has_prompt = true;
                                });
  CLI::Option* file =
      AddOption(command, "--file", "PATH", "Read the text from here (-: standard input)",
                [&draft](const std::string& value) {
                  draft.line.text_path = value;
                  draft.has_prompt = true;
                });
  file->excludes(text);
  return {text, file};
}

// The same, or as ids.
template <typename Request>
void AddTextOrIds(CLI::App& command, Draft& draft, Request& request, const std::string& ids_name) {
  const std::vector<CLI::Option*> text = AddText(command, draft, request);
  CLI::Option* ids = AddOption(command, ids_name, "ID,ID,...", "Token ids instead of text",
                               [&draft, &request](const std::string& value) {
                                 ParseIds(value, request.mutable_token_ids()->mutable_ids());
                                 draft.has_prompt = true;
                               });
  for (CLI::Option* option : text) ids->excludes(option);
}

void AddSamplingOptions(CLI::App& command, v1::GenerateRequest& request) {
  using R = v1::GenerateRequest;
  command.option_defaults()->group("Sampling");
  AddNumber(command, "--max-tokens", request, &R::set_max_tokens, "At most so many (default 128)");
  AddNumber(command, "--min-tokens", request, &R::set_min_tokens, "No end before so many");
  AddNumber(command, "--temperature", request, &R::set_temperature,
            "0 to 2; 0 is greedy (default 1)");
  AddNumber(command, "--top-k", request, &R::set_top_k, "Only the k likeliest tokens; 0: all");
  AddNumber(command, "--top-p", request, &R::set_top_p, "Only the likeliest of this mass");
  AddNumber(command, "--min-p", request, &R::set_min_p,
            "Only tokens this likely relative to the likeliest");
  AddNumber(command, "--presence-penalty", request, &R::set_presence_penalty, "-2 to 2");
  AddNumber(command, "--frequency-penalty", request, &R::set_frequency_penalty, "-2 to 2");
  AddNumber(command, "--repetition-penalty", request, &R::set_repetition_penalty,
            "Above 0 (default 1)");
  AddNumber(command, "--seed", request, &R::set_seed, "Makes sampling repeatable");
  AddRepeatable(command, "--stop", "TEXT", "End before this text",
                [&request](const std::string& value) { request.add_stop(value); });
  AddOption(
      command, "--stop-token-ids", "ID,ID,...", "End at any of these tokens",
      [&request](const std::string& value) { ParseIds(value, request.mutable_stop_token_ids()); });
  AddSwitch(command, "--ignore-eos", request, &R::set_ignore_eos, "Go on past the end of sequence");
  AddSwitch(command, "--include-stop", request, &R::set_include_stop,
            "Keep the stop text in the output");
  AddRepeatable(command, "--logit-bias", "ID=VALUE", "Add to a token's logit",
                [&request](const std::string& value) {
                  const std::vector<std::string> parts = absl::StrSplit(value, '=');
                  if (parts.size() != 2) throw BadValue{value + " is not of the form ID=VALUE"};
                  (*request.mutable_logit_bias())[ParseNumber<int32_t>(parts[0])] =
                      ParseNumber<float>(parts[1]);
                });
  AddNumber(command, "--logprobs", request, &R::set_logprobs,
            "Log-probabilities, with so many alternatives per token");
  AddNumber(command, "-n,--n", request, &R::set_n, "Samples (default 1)");
}

CLI::App& AddGenerate(CLI::App& app, Draft& draft) {
  CLI::App& command =
      *app.add_subcommand("generate", "Continue a prompt, printing the text as it arrives");
  AddConnectionOptions(command, draft.line);
  AddModel(command, draft.generate, kModelHelp);
  AddTextOrIds(command, draft, draft.generate, "--prompt-ids");
  AddSamplingOptions(command, draft.generate);
  return command;
}

CLI::App& AddScore(CLI::App& app, Draft& draft) {
  CLI::App& command =
      *app.add_subcommand("score", "Log-likelihoods of a text, or of continuations of it");
  AddConnectionOptions(command, draft.line);
  v1::ScoreRequest& request = draft.score;
  AddModel(command, request, kModelHelp);
  AddTextOrIds(command, draft, request, "--context-ids,--prompt-ids");
  // Handled one at a time, so that the two kinds keep their order.
  AddRepeatable(
      command, "--continuation", "TEXT", "Score this, after the text",
      [&request](const std::string& value) { request.add_continuations()->set_text(value); })
      ->trigger_on_parse();
  AddRepeatable(command, "--continuation-ids", "ID,ID,...", "The same as token ids",
                [&request](const std::string& value) {
                  ParseIds(value, request.add_continuations()->mutable_token_ids()->mutable_ids());
                })
      ->trigger_on_parse();
  AddNumber(command, "--top-k", request, &v1::ScoreRequest::set_top_k,
            "So many alternatives per token");
  AddSwitch(command, "--trace", request, &v1::ScoreRequest::set_trace,
            "With --json: what each gate did, as beta, proj (k^T X) and v");
  return command;
}

CLI::App& AddTokenize(CLI::App& app, Draft& draft) {
  CLI::App& command = *app.add_subcommand("tokenize", "The tokens of a text");
  AddConnectionOptions(command, draft.line);
  AddModel(command, draft.tokenize, kModelHelp);
  AddText(command, draft, draft.tokenize);
  return command;
}

CLI::App& AddModels(CLI::App& app, Draft& draft) {
  CLI::App& command = *app.add_subcommand("models", "The models that are served");
  AddConnectionOptions(command, draft.line);
  AddModel(command, draft.model, "This one only");
  return command;
}

CLI::App& AddUsage(CLI::App& app, Draft& draft) {
  using R = v1::GetUsageRequest;
  CLI::App& command = *app.add_subcommand(
      "usage", "What has been used, and by whom; --address is the server's --admin");
  AddConnectionOptions(command, draft.line);
  R& request = draft.usage;
  const auto text = [&](const char* name, const char* value_name, const char* help,
                        void (*set)(R&, const std::string&)) {
    AddOption(command, name, value_name, help,
              [&request, set](const std::string& value) { set(request, value); });
  };
  text("--request", "ID", "Of this request alone",
       [](R& request, const std::string& value) { request.set_request_id(value); });
  text("--tenant", "NAME", "Of this tenant alone",
       [](R& request, const std::string& value) { request.set_tenant(value); });
  text("--model", "NAME", "Of this model alone",
       [](R& request, const std::string& value) { request.set_model(value); });
  text("--from", "DAY", "From this day on, such as 2026-11-23 (UTC)",
       [](R& request, const std::string& value) { request.set_first_day(value); });
  text("--to", "DAY", "To this day, and with it",
       [](R& request, const std::string& value) { request.set_last_day(value); });
  text("--by", "LIST", "A line for each: day, tenant, model, with commas between (default: one)",
       [](R& request, const std::string& value) {
         for (absl::string_view key : absl::StrSplit(value, ',')) {
           if (key == "day") {
             request.set_by_day(true);
           } else if (key == "tenant") {
             request.set_by_tenant(true);
           } else if (key == "model") {
             request.set_by_model(true);
           } else {
             throw BadValue{absl::StrCat(key, " is none of day, tenant, model")};
           }
         }
       });
  command.add_flag("--csv", draft.line.csv, "Print comma-separated values");
  return command;
}

CLI::App& AddCost(CLI::App& app, Draft& draft) {
  // Of callers, each a thread, and of tokens.
  constexpr int64_t kMostCallers = 1024;
  constexpr int64_t kMostTokens = 1 << 20;
  CLI::App& command = *app.add_subcommand(
      "cost", "What a million tokens of each model cost, measured now by calling them");
  AddConnectionOptions(command, draft.line);
  CommandLine::Cost& cost = draft.cost;
  AddOption(command, "--model", "NAME,NAME,...", "These only (default: all)",
            [&cost](const std::string& value) { cost.models = absl::StrSplit(value, ','); });
  AddOption(command, "--batch", "N,N,...", "Requests at once (default 1,8,32)",
            [&cost](const std::string& value) {
              cost.load.batches.clear();
              for (absl::string_view batch : absl::StrSplit(value, ',')) {
                cost.load.batches.push_back(ParseCount(batch, 1, kMostCallers));
              }
            });
  AddOption(command, "--prompt-tokens", "INTEGER", "Of each request (default 128, or what fits)",
            [&cost](const std::string& value) {
              cost.load.prompt_tokens = ParseCount(value, 1, kMostTokens);
            });
  AddOption(command, "--completion-tokens", "INTEGER",
            "Of each request, at least 2 (default 64, or what fits)",
            [&cost](const std::string& value) {
              cost.load.completion_tokens = ParseCount(value, 2, kMostTokens);
            });
  AddOption(
      command, "--rounds", "INTEGER", "Measure so often and take the median (default 3)",
      [&cost](const std::string& value) { cost.load.rounds = ParseCount(value, 1, kMostCallers); });
  AddOption(command, "--png", "PATH", "Plot it into this file, too",
            [&cost](const std::string& value) { cost.png_path = value; });
  return command;
}

CLI::App& AddHealth(CLI::App& app, Draft& draft) {
  CLI::App& command = *app.add_subcommand(
      "health", "Whether the server serves: SERVING, else exit code 1 and the reason");
  AddConnectionOptions(command, draft.line);
  AddOption(command, "--model", "NAME", "Whether this model is served",
            [&draft](const std::string& value) { draft.health.model = value; });
  return command;
}

CLI::App& AddKeys(CLI::App& app, Draft& draft) {
  CLI::App& keys = *app.add_subcommand("keys", "The keys file of a server");
  keys.require_subcommand(1);
  CLI::App& command = *keys.add_subcommand(
      "add", "Make a key and print it, the only time that it is seen; the file keeps its hash");
  v1::KeysFile::Tenant& tenant = draft.key.tenant;
  AddOption(command, "--file", "PATH", "The server's --keys; made where there is none",
            [&draft](const std::string& value) { draft.key.path = value; })
      ->required();
  AddOption(command, "--tenant", "NAME", "Whose key it is; added where the file has it not",
            [&tenant](const std::string& value) { tenant.set_name(value); })
      ->required();
  command.add_flag("--admin", draft.key.admin, "The key sees all tenants' usage");
  command.option_defaults()->group("A new tenant (default: no limits)");
  AddRepeatable(command, "--model", "NAME", "It may use this one only",
                [&tenant](const std::string& value) { tenant.add_models(value); });
  using T = v1::KeysFile::Tenant;
  AddNumber(command, "--requests-per-minute", tenant, &T::set_requests_per_minute, "At most");
  AddNumber(command, "--tokens-per-minute", tenant, &T::set_tokens_per_minute,
            "At most, of prompts and completions");
  AddOption(command, "--budget", "USD/PERIOD", "At most, such as 2.50/day, 40/month or 100/total",
            [&tenant](const std::string& value) {
              const std::vector<std::string> parts = absl::StrSplit(value, '/');
              if (parts.size() != 2) throw BadValue{value + " is not of the form USD/PERIOD"};
              tenant.mutable_budget()->set_usd(parts[0]);
              tenant.mutable_budget()->set_period(parts[1]);
            });
  return command;
}

constexpr char kFooter[] =
    "deltactl help COMMAND lists the options of a command.\n"
    "Exit codes: 0; 1: the call failed, its status is on standard error; 2: usage.";

std::string NoCommand(const std::string& name) {
  return absl::StrCat("deltactl: there is no command ", name, "; deltactl help lists them\n");
}

}  // namespace

std::variant<CommandLine, EarlyExit> ParseCommandLine(std::vector<std::string> arguments) {
  Draft draft;
  CLI::App app("Generates and scores text with the models of a Deltaserve server.", "deltactl");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.footer(kFooter);
  AddConnectionOptions(app, draft.line);
  const CLI::App& generate = AddGenerate(app, draft);
  const CLI::App& score = AddScore(app, draft);
  const CLI::App& tokenize = AddTokenize(app, draft);
  const CLI::App& models = AddModels(app, draft);
  const CLI::App& usage = AddUsage(app, draft);
  const CLI::App& cost = AddCost(app, draft);
  const CLI::App& health = AddHealth(app, draft);
  CLI::App& bench = AddBench(app, draft.bench);
  AddConnectionOptions(bench, draft.line);
  const CLI::App& add_key = AddKeys(app, draft);
  std::string topic;
  const CLI::App& help = *app.add_subcommand("help", "Explain a command");
  app.get_subcommand("help")->add_option("command", topic);

  const std::string overview = app.help();
  try {
    std::replace(arguments.begin(), arguments.end(), std::string("++"), std::string(kPlusPlus));
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    return EarlyExit{kExitOk, app.help()};
  } catch (const CLI::RequiredError&) {
    const std::vector<std::string> unknown = app.remaining();
    return EarlyExit{kExitUsage, unknown.empty() ? overview : NoCommand(unknown.front())};
  } catch (const CLI::ParseError& error) {
    return EarlyExit{kExitUsage, absl::StrCat("deltactl: ", error.what(), "\n")};
  }

  if (help) {
    if (topic.empty()) return EarlyExit{kExitOk, overview};
    const auto commands =
        app.get_subcommands([&](const CLI::App* command) { return command->get_name() == topic; });
    if (commands.empty()) return EarlyExit{kExitUsage, NoCommand(topic)};
    return EarlyExit{kExitOk, commands.front()->help("deltactl")};
  }

  if (generate) draft.line.request = std::move(draft.generate);
  if (score) draft.line.request = std::move(draft.score);
  if (tokenize) draft.line.request = std::move(draft.tokenize);
  if (models) {
    if (draft.model.model().empty()) {
      draft.line.request = v1::ListModelsRequest();
    } else {
      draft.line.request = std::move(draft.model);
    }
  }
  if (usage) draft.line.request = std::move(draft.usage);
  if (cost) draft.line.request = std::move(draft.cost);
  if (health) draft.line.request = std::move(draft.health);
  if (bench) draft.line.request = std::move(draft.bench);
  if (add_key) draft.line.request = std::move(draft.key);
  if ((generate || score || tokenize) && !draft.has_prompt) draft.line.text_path = "-";
  return std::move(draft.line);
}

}  // namespace deltaserve::cli
