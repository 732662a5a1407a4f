#include "client/cli/commands.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "auth/keys_file.h"
#include "client/cli/bench_html.h"
#include "client/cli/bench_load.h"
#include "client/cli/bench_report.h"
#include "client/cli/cost_measurement.h"
#include "client/cli/cost_output.h"
#include "client/cli/cost_plot.h"
#include "client/cli/json_output.h"
#include "client/cli/prompt_source.h"
#include "client/cli/text_output.h"
#include "client/cli/usage_output.h"

namespace deltaserve::cli {
namespace {

class Runner {
 public:
  Runner(const CommandLine& command, const Client& client, std::stop_token interrupt,
         const std::string& api_key, std::ostream& out, std::ostream& notes)
      : client_(client),
        options_{
            .timeout = command.timeout, .cancellation = std::move(interrupt), .api_key = api_key},
        json_(command.json),
        csv_(command.csv),
        out_(out),
        notes_(notes) {}

  absl::Status operator()(const v1::GenerateRequest& request) {
    if (json_) return PrintJson(client_.Generate(request, options_));
    GenerationStream stream = client_.GenerateStream(request, options_);
    GenerationPrinter printer(/*numbered=*/request.n() > 1, out_);
    v1::GenerateResponse response;
    v1::GenerateChunk chunk;
    while (stream.Read(&chunk)) {
      AppendChunk(chunk, response);
      printer.Show(response);
    }
    printer.Finish(response);
    absl::Status status = stream.Finish();
    if (status.ok()) notes_ << Summary(response) << '\n';
    return status;
  }

  absl::Status operator()(const v1::ScoreRequest& request) {
    const absl::StatusOr<v1::ScoreResponse> response = client_.Score(request, options_);
    if (json_ || !response.ok()) return PrintJson(response);
    PrintScore(*response, out_);
    notes_ << Summary(response->usage()) << '\n';
    return absl::OkStatus();
  }

  absl::Status operator()(const v1::TokenizeRequest& request) {
    const auto response = client_.Tokenize(request.model(), request.text(), options_);
    if (json_ || !response.ok()) return PrintJson(response);
    PrintTokens(*response, out_);
    return absl::OkStatus();
  }

  absl::Status operator()(const v1::ListModelsRequest&) {
    return ShowModels(client_.ListModels(options_));
  }

  absl::Status operator()(const v1::GetModelRequest& request) {
    absl::StatusOr<v1::Model> model = client_.GetModel(request.model(), options_);
    if (!model.ok()) return model.status();
    return ShowModels(std::vector<v1::Model>{*std::move(model)});
  }

  absl::Status operator()(const v1::GetUsageRequest& request) {
    const auto response = client_.GetUsage(request, options_);
    if (!response.ok()) return response.status();
    const UsageTable table = TableOf(*response);
    if (json_) {
      out_ << Dump(ToJson(table)) << '\n';
    } else if (csv_) {
      PrintCsv(table, out_);
    } else {
      PrintText(table, out_);
    }
    return absl::OkStatus();
  }

  absl::Status operator()(const CommandLine::Bench& command) {
    BenchLoad load = command.load;
    if (!command.prompts_path.empty()) {
      absl::StatusOr<std::vector<std::string>> prompts = ReadPrompts(command.prompts_path);
      if (!prompts.ok()) return prompts.status();
      load.prompts = *std::move(prompts);
    }
    CallOptions options = options_;  // of each call; one that hangs must not hang the whole
    options.timeout = std::min(options.timeout, absl::Minutes(10));
    const absl::StatusOr<BenchRun> run =
        RunBench(client_, load, options, [this](const BenchProgress& progress) {
          notes_ << ProgressLine(progress) << std::endl;  // as it comes
        });
    if (!run.ok()) return run.status();
    const BenchReport report = Summarize(load, *run);
    // Before the page, so that nothing is lost where that fails.
    if (json_) {
      out_ << Dump(ToJson(report)) << '\n';
    } else {
      PrintBench(report, out_);
    }
    if (!command.html_path.empty()) {
      if (absl::Status status = WriteBenchPage(report, command.html_path); !status.ok()) {
        return status;
      }
    }
    if (report.ok > 0) return absl::OkStatus();
    for (const BenchCall& call : run->calls) {
      if (!call.status.ok()) return call.status;
    }
    return absl::CancelledError("no call was counted");
  }

  absl::Status operator()(const CommandLine::Cost& command) {
    const absl::StatusOr<CostReport> report =
        MeasureCosts(client_, command.models, command.load, options_, [this](const auto& step) {
          if (!json_) notes_ << step << std::endl;  // as it comes
        });
    if (!report.ok()) return report.status();
    // Before the plot, so that nothing is lost where that fails.
    if (json_) {
      out_ << Dump(ToJson(*report)) << '\n';
    } else {
      PrintCosts(*report, out_);
    }
    return command.png_path.empty() ? absl::OkStatus() : PlotCosts(*report, command.png_path);
  }

  absl::Status operator()(const CommandLine::AddKey& command) {
    const absl::StatusOr<ApiKey> key = AddKey(command.path, command.tenant, command.admin);
    if (!key.ok()) return key.status();
    out_ << key->Text() << '\n';
    return absl::OkStatus();
  }

  absl::Status operator()(const CommandLine::CheckHealth& command) {
    absl::Status status = client_.CheckHealth(command.model, options_);
    if (status.ok()) out_ << (json_ ? R"({"status": "SERVING"})" : "SERVING") << '\n';
    return status;
  }

 private:
  absl::Status ShowModels(const absl::StatusOr<std::vector<v1::Model>>& models) {
    if (json_ || !models.ok()) return PrintJson(models);
    PrintModels(*models, out_);
    return absl::OkStatus();
  }

  template <typename Response>
  absl::Status PrintJson(const absl::StatusOr<Response>& response) {
    if (response.ok()) out_ << Dump(ToJson(*response)) << '\n';
    return response.status();
  }

  const Client& client_;
  const CallOptions options_;
  const bool json_;
  const bool csv_;
  std::ostream& out_;
  std::ostream& notes_;
};

}  // namespace

absl::Status RunCommand(const CommandLine& command, const Client& client, std::stop_token interrupt,
                        const std::string& api_key, std::ostream& out, std::ostream& notes) {
  return std::visit(Runner(command, client, std::move(interrupt), api_key, out, notes),
                    command.request);
}

}  // namespace deltaserve::cli
