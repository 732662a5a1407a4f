// What the real server exports is what docs/api.md says: each family, its type, its labels and,
// where they are listed, their values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "auth/keys_file.h"
#include "client/cpp/client.h"
#include "tests/support/process/server_process.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using Values = std::set<std::string>;

struct Family {
  std::string type;
  std::map<std::string, Values> labels;  // by name
};
using Families = std::map<std::string, Family>;

// The text between each two `marks`.
std::vector<std::string> Between(absl::string_view text, char mark) {
  const std::vector<std::string> parts = absl::StrSplit(text, mark);
  std::vector<std::string> inner;
  for (size_t i = 1; i < parts.size(); i += 2) inner.push_back(parts[i]);
  return inner;
}

// Of a cell such as "`model`, `state` (used, free)".
std::map<std::string, Values> ReadLabels(absl::string_view cell) {
  std::map<std::string, Values> labels;
  const std::vector<std::string> parts = absl::StrSplit(cell, '`');
  for (size_t i = 1; i + 1 < parts.size(); i += 2) {
    Values& values = labels[parts[i]];
    absl::string_view rest = absl::StripLeadingAsciiWhitespace(parts[i + 1]);
    if (!absl::ConsumePrefix(&rest, "(")) continue;
    for (absl::string_view value : absl::StrSplit(rest.substr(0, rest.find(')')), ", ")) {
      values.emplace(value);
    }
  }
  return labels;
}

// Of the tables under "## Metrics"; those whose last cell mentions NVIDIA are not this server's.
Families Documented() {
  std::ifstream file(DELTASERVE_SOURCE_DIR "/docs/api.md");
  Families families;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "## ")) inside = line == "## Metrics";
    if (!inside || !absl::StartsWith(line, "| `") || absl::StrContains(line, "NVIDIA")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    std::string name = Between(cells[1], '`').at(0);
    if (!absl::StrContains(name, ':')) name = absl::StrCat("deltaserve_", name);
    Family family = {std::string(absl::StripAsciiWhitespace(cells[2])), ReadLabels(cells[3])};
    EXPECT_TRUE(families.emplace(name, std::move(family)).second) << name << " is there twice";
  }
  return families;
}

// The label names of a sample, and their values; not `le`, which is every histogram's.
std::map<std::string, Values> LabelsOf(absl::string_view sample) {
  std::map<std::string, Values> labels;
  const size_t open = sample.find('{');
  if (open == absl::string_view::npos) return labels;
  const absl::string_view text = sample.substr(open + 1, sample.rfind('}') - open - 1);
  for (absl::string_view label : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> name_and_value =
        absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (name_and_value.first == "le") continue;
    labels[name_and_value.first].insert(Between(name_and_value.second, '"').at(0));
  }
  return labels;
}

Families Scraped(const std::string& exposition) {
  Families families;
  std::istringstream lines(exposition);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (absl::StartsWith(line, "# TYPE ")) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      name = words[2];
      EXPECT_EQ(families.count(name), 0u) << name << " is there twice";
      families[name].type = words[3];
    } else if (!line.empty() && line[0] != '#') {
      EXPECT_TRUE(absl::StartsWith(line, name)) << line;
      Family& family = families[name];
      const std::map<std::string, Values> labels = LabelsOf(line);
      if (!family.labels.empty()) {
        EXPECT_EQ(labels.size(), family.labels.size()) << line;
      }
      for (const auto& [label, values] : labels) {
        family.labels[label].insert(values.begin(), values.end());
      }
    }
  }
  return families;
}

void ExpectSame(const std::string& name, const Family& documented, const Family& scraped) {
  EXPECT_EQ(scraped.type, documented.type) << name;
  for (const auto& [label, values] : scraped.labels) {
    const auto known = documented.labels.find(label);
    ASSERT_NE(known, documented.labels.end()) << name << " has the label " << label;
    if (!known->second.empty()) {
      EXPECT_EQ(values, known->second) << name << ' ' << label;
    }
  }
  EXPECT_EQ(scraped.labels.size(), documented.labels.size()) << name << " lacks a label";
}

class MetricsContractTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> flags) {
    const char* device = std::getenv("DELTASERVE_LOAD_DEVICE");
    for (const std::string flag :
         {"--model", "tiny=" DELTASERVE_SOURCE_DIR "/tests/golden/ddl_tc_ec", "--device",
          device == nullptr ? "cpu" : device}) {
      flags.push_back(flag);
    }
    absl::StatusOr<ServerProcess> server = ServerProcess::Start(flags);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<ServerProcess>(*std::move(server));
  }

  // A call of each method, and one that is refused. Where there is a budget, the machine may be too
  // busy for it to last for all tokens.
  void CallAll(const std::string& key) {
    const Client client = Client::Connect(server_->address());
    const CallOptions options = {.api_key = key};
    v1::GenerateRequest generate;
    for (int32_t id = 1; id < 40; ++id) generate.mutable_token_ids()->add_ids(id);
    generate.set_max_tokens(8);
    generate.set_n(2);
    generate.set_ignore_eos(true);
    for (int i = 0; i < 2; ++i) {  // the second finds the prompt cached, where there is a cache
      const auto response = client.Generate(generate, options);
      ASSERT_TRUE(response.ok()) << response.status();
      generated_ += response->usage().completion_tokens();
    }
    GenerationStream stream = client.GenerateStream(generate, options);
    v1::GenerateChunk chunk;
    while (stream.Read(&chunk)) generated_ += chunk.usage().completion_tokens();
    EXPECT_TRUE(stream.Finish().ok());
    v1::ScoreRequest score;
    for (int32_t id = 1; id < 9; ++id) score.mutable_token_ids()->add_ids(id);
    EXPECT_TRUE(client.Score(score, options).ok());
    generate.set_model("none");
    EXPECT_TRUE(absl::IsNotFound(client.Generate(generate, options).status()));
  }

  std::string Scrape() { return HttpGet(server_->metrics_address(), "/metrics").value(); }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  double generated_ = 0;  // tokens, as callers were told
};

TEST_F(MetricsContractTest, EveryFamilyIsAsDocumented) {
  const std::string keys_path = dir_ / "keys";
  v1::KeysFile::Tenant tenant;
  tenant.set_name("acme");
  tenant.mutable_budget()->set_usd("1000");
  tenant.mutable_budget()->set_period("month");
  const std::string key = AddKey(keys_path, tenant, /*admin=*/false).value().Text();
  Start({"--keys", keys_path, "--ledger", dir_ / "ledger.db", "--usd-per-device-hour", "2.49",
         "--metrics-compat=vllm"});
  if (HasFatalFailure()) return;
  CallAll(key);

  const std::string exposition = Scrape();
  const Families documented = Documented();
  EXPECT_GT(documented.size(), 40u);
  Families scraped = Scraped(exposition);
  for (const auto& [name, family] : documented) {
    const auto found = scraped.find(name);
    EXPECT_NE(found, scraped.end()) << name << " is not exported";
    if (found != scraped.end()) ExpectSame(name, family, found->second);
  }
  for (const auto& [name, family] : scraped) {
    EXPECT_TRUE(documented.count(name) == 1 || absl::StartsWith(name, "exposer_"))
        << name << " is not documented";
  }
  EXPECT_EQ(scraped["deltaserve_cost_usd_total"].labels["tenant"], Values({"acme"}));

  // What both tell.
  const MetricsSnapshot metrics(exposition);
  const std::vector<std::pair<std::string, std::string>> same = {
      {"prompt_tokens_total", "prompt_tokens_total"},
      {"generation_tokens_total", "generated_tokens_total"},
      {"prefix_cache_hits_total", "cached_prompt_tokens_total"},
      {"num_preemptions_total", "preemptions_total"},
      {"time_to_first_token_seconds_count", "time_to_first_token_seconds_count"},
      {"inter_token_latency_seconds_sum", "inter_token_latency_seconds_sum"},
      {"e2e_request_latency_seconds_count", "request_duration_seconds_count"}};
  for (const auto& [vllm, ours] : same) {
    EXPECT_EQ(metrics.Sum("vllm:" + vllm), metrics.Sum("deltaserve_" + ours)) << vllm;
  }
  EXPECT_EQ(metrics.Sum("vllm:generation_tokens_total"), generated_);
  EXPECT_EQ(metrics.Sum("vllm:request_success_total"), 3 * 2 + 1);
}

TEST_F(MetricsContractTest, WithoutKeysLedgerAndPriceTheirFamiliesAreNotThere) {
  Start({});
  if (HasFatalFailure()) return;
  CallAll("");
  Families scraped = Scraped(Scrape());
  const Families documented = Documented();
  for (const char* absent :
       {"cost_usd_total", "idle_cost_usd_total", "billed_usd_total", "cost_absorbed_usd_total",
        "budget_usd", "budget_remaining_usd", "ledger_healthy", "ledger_lost_records_total"}) {
    EXPECT_EQ(scraped.count(absl::StrCat("deltaserve_", absent)), 0u) << absent;
  }
  size_t ours = 0;
  for (const auto& [name, family] : documented) ours += absl::StartsWith(name, "deltaserve_");
  EXPECT_EQ(std::count_if(
                scraped.begin(), scraped.end(),
                [](const auto& family) { return absl::StartsWith(family.first, "deltaserve_"); }),
            ours - 8);
  EXPECT_EQ(scraped["deltaserve_attributed_seconds_total"].labels["tenant"], Values({"default"}));
}

}  // namespace
}  // namespace deltaserve
