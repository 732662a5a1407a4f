#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/report.h"
#include "bench/table.h"

namespace deltaserve::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string Number(const Json& value, int decimals) {
  return value.is_number() ? absl::StrFormat("%.*f", decimals, value.get<double>()) : "–";
}

std::string Percent(const Json& value) {
  return value.is_number() ? absl::StrFormat("%.0f %%", 100 * value.get<double>()) : "–";
}

std::string EngineTable(const Json& rows) {
  Table table({"residual", "batch", "decode tok/s", "of batch 1", "of additive", "MBU", "MFU",
               "prefill tok/s", "of additive", "MFU"});
  for (const Json& row : rows) {
    table.Add({row["residual"], absl::StrCat(row["batch"].get<int64_t>()),
               Number(row["decode_tokens_per_s"], 1), Number(row["decode_vs_batch_1"], 2),
               Number(row["decode_vs_additive"], 3), Percent(row["mbu"]),
               Percent(row["decode_mfu"]), Number(row["prefill_tokens_per_s"], 0),
               Number(row["prefill_vs_additive"], 3), Percent(row["mfu"])});
  }
  return table.ToString();
}

std::string ServerTable(const Json& rows) {
  Table table(
      {"residual", "streams", "tok/s", "of engine", "first token ms", "engine's prompt ms"});
  for (const Json& row : rows) {
    table.Add({row["residual"], absl::StrCat(row["streams"].get<int64_t>()),
               Number(row["tokens_per_s"], 1), Percent(row["of_engine"]),
               Number(row["time_to_first_token_ms"], 1), Number(row["engine_prompt_ms"], 1)});
  }
  return table.ToString();
}

std::string MemoryTable(const Json& rows) {
  Table table({"residual", "weights MB", "cache MB", "loaded MB", "busy MB", "limit MB"});
  for (const Json& row : rows) {
    table.Add({row["residual"], Number(row["weight_mb"], 0), Number(row["cache_mb"], 0),
               Number(row["rss_loaded_mb"], 0), Number(row["rss_busy_mb"], 0),
               Number(row["limit_mb"], 0)});
  }
  return table.ToString();
}

// A goal holds for every row it looks at; what the table shows is the worst.
class Goals {
 public:
  // `value` has a row's figure, or nothing where the goal does not look at the row.
  template <typename Value>
  void AtLeast(const std::string& name, double wanted, const Json& rows, Value value) {
    std::optional<double> worst;
    std::string residual;
    for (const Json& row : rows) {
      const Json figure = value(row);
      if (!figure.is_number() || (worst && figure.get<double>() >= *worst)) continue;
      worst = figure.get<double>();
      residual = row["residual"];
    }
    if (!worst) return;
    table_.Add({name, absl::StrFormat("%.2f", wanted), absl::StrFormat("%.2f", *worst), residual,
                *worst >= wanted ? "yes" : "no"});
  }

  std::string ToString() const { return table_.ToString(); }

 private:
  Table table_{{"goal", "at least", "measured", "worst of", "met"}};
};

std::string GoalsTable(const Json& report) {
  const auto of_batch = [](const char* key, int64_t batch) {
    return [key, batch](const Json& row) { return row["batch"] == batch ? row[key] : Json(); };
  };
  const auto of_ddl = [](const char* key) {
    return [key](const Json& row) { return row["residual"] == "additive" ? Json() : row[key]; };
  };
  const Json& rows = report["rows"];
  Goals goals;
  goals.AtLeast("decode, batch 1: share of read bandwidth", 0.70, rows, of_batch("mbu", 1));
  goals.AtLeast("prefill of 512: share of matmul peak", 0.65, rows,
                [](const Json& row) { return row["mfu"]; });
  goals.AtLeast("decode, batch 8: tok/s of batch 1", 5, rows, of_batch("decode_vs_batch_1", 8));
  goals.AtLeast("decode, batch 32: tok/s of batch 1", 10, rows, of_batch("decode_vs_batch_1", 32));
  goals.AtLeast("decode: tok/s of additive", 0.95, rows, of_ddl("decode_vs_additive"));
  goals.AtLeast("prefill: tok/s of additive", 0.95, rows, of_ddl("prefill_vs_additive"));
  goals.AtLeast("resident memory: limit / most", 1, report["memory"], [](const Json& row) {
    return Json(row["limit_mb"].get<double>() / row["rss_busy_mb"].get<double>());
  });
  return goals.ToString();
}

}  // namespace

std::string ToMarkdown(const Json& report) {
  const auto text_of = [&report](const char* key) { return report[key].get<std::string>(); };
  std::string text =
      absl::StrCat(text_of("shape"), ", ", text_of("dtype"), ", ", report["threads"].get<int>(),
                   " threads of ", text_of("cpu"), ", commit ", text_of("commit"), ", medians of ",
                   report["repeats"].get<int>(), " rounds.\n");
  const Json& rows = report["rows"];
  if (!rows.empty()) {
    const Json& read = report["read_bandwidth_gb_s_range"];
    const Json& matmul = report["matmul_gflops_range"];
    absl::StrAppend(&text, "Read bandwidth ", Number(read["median"], 1), " GB/s (",
                    Number(read["min"], 1), " to ", Number(read["max"], 1), "), matmul peak ",
                    Number(matmul["median"], 0), " GFLOP/s (", Number(matmul["min"], 0), " to ",
                    Number(matmul["max"], 0), ").\n\nEngine, context ",
                    rows[0]["context"].get<int64_t>(), ":\n\n", EngineTable(rows));
  }
  if (const Json& server = report["server"]; !server.empty()) {
    absl::StrAppend(
        &text, "\nServer over loopback, prompts of ", server[0]["prompt_tokens"].get<int64_t>(),
        " tokens, ", server[0]["generated_tokens"].get<int64_t>(), " generated:\n\n",
        ServerTable(server), "\nMemory of the server:\n\n", MemoryTable(report["memory"]));
  }
  absl::StrAppend(&text, "\nGoals (set for small, bf16, 2 threads):\n\n", GoalsTable(report));
  return text;
}

}  // namespace deltaserve::bench
