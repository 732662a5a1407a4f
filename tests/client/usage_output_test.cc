#include "client/cli/usage_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace deltaserve::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

v1::UsageTotal* AddTotal(v1::GetUsageResponse& response, const std::string& tenant,
                         int64_t requests, double billed) {
  v1::UsageTotal* total = response.add_totals();
  total->set_tenant(tenant);
  total->set_requests(requests);
  total->set_billed_usd(billed);
  total->mutable_usage()->set_prompt_tokens(7);
  total->mutable_usage()->mutable_prefill()->set_device_seconds(0.5);
  return total;
}

template <typename Print>
std::string Printed(const v1::GetUsageResponse& response, Print print) {
  std::ostringstream out;
  print(TableOf(response), out);
  return out.str();
}

TEST(UsageOutputTest, CsvHasAHeaderAndQuotesWhatNeedsIt) {
  v1::GetUsageResponse response;
  AddTotal(response, "acme", 3, 0.25);
  AddTotal(response, "a \"big\", one", 4, 1e-12);
  EXPECT_EQ(Printed(response, PrintCsv),
            "tenant,requests,interrupted,prompt_tokens,cached_prompt_tokens,completion_tokens,"
            "scored_tokens,device_seconds,prefill_seconds,decode_seconds,score_seconds,billed_usd,"
            "absorbed_usd\r\n"
            "acme,3,0,7,0,0,0,0.0,0.5,0.0,0.0,0.25,0.0\r\n"
            "\"a \"\"big\"\", one\",4,0,7,0,0,0,0.0,0.5,0.0,0.0,1e-12,0.0\r\n");
}

TEST(UsageOutputTest, TextLeavesOutWhatIsZeroEverywhere) {
  v1::GetUsageResponse response;
  AddTotal(response, "acme", 3, 0.25);
  AddTotal(response, "brand", 4, 0);
  const std::string text = Printed(response, PrintText);
  EXPECT_THAT(text, StartsWith("TENANT  REQUESTS  PROMPT_TOKENS  PREFILL_SECONDS  BILLED_USD\n"
                               "acme    3         7              0.5              0.25\n"));
}

TEST(UsageOutputTest, ASingleTotalStandsOneBelowTheOther) {
  v1::GetUsageResponse response;
  AddTotal(response, "acme", 3, 0.25);
  EXPECT_THAT(Printed(response, PrintText), StartsWith("tenant                acme\n"
                                                       "requests              3\n"));
}

TEST(UsageOutputTest, ARequestShowsAllOfItself) {
  v1::GetUsageResponse response;
  response.mutable_request()->set_request_id("a-1");
  response.mutable_request()->set_state("interrupted");
  response.mutable_request()->set_reserved_usd(0.5);
  const std::string text = Printed(response, PrintText);
  EXPECT_THAT(text, HasSubstr("a-1"));
  EXPECT_THAT(text, HasSubstr("interrupted"));
  EXPECT_THAT(text, HasSubstr("0.5"));
}

TEST(UsageOutputTest, JsonIsAListOfObjects) {
  v1::GetUsageResponse response;
  EXPECT_EQ(Dump(ToJson(TableOf(response))), "{\"usage\":[]}");
  EXPECT_EQ(Printed(response, PrintText), "nothing\n");
  AddTotal(response, "acme", 3, 0.25)->set_day("2026-11-23");
  const Json json = ToJson(TableOf(response));
  EXPECT_EQ(json["usage"][0]["day"], "2026-11-23");
  EXPECT_EQ(json["usage"][0]["requests"], 3);
  EXPECT_THAT(Dump(json), Not(HasSubstr("model")));
}

}  // namespace
}  // namespace deltaserve::cli
