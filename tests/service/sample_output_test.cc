#include "server/service/sample_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/service/test_server.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class SampleOutputTest : public testing::Test {
 protected:
  SampleOutput Make(TextOptions text) {
    format_.emplace(model_, request_, std::move(text));
    return SampleOutput(&*format_, 0);
  }

  // All at once, as an engine would that had not heard of the match yet. The texts that came out
  // after each token.
  static std::vector<std::string> Push(SampleOutput& sample, const std::vector<int32_t>& ids) {
    std::vector<std::string> texts;
    for (int32_t id : ids) {
      sample.Push({.id = id, .top = {}});
      texts.push_back(sample.Take().text());
    }
    return texts;
  }

  ServedModel model_ = {TinyModel(), ByteTokenizer(), nullptr};
  GenerateRequest request_;
  std::optional<OutputFormat> format_;
};

TEST_F(SampleOutputTest, TextComesWithItsTokens) {
  SampleOutput sample = Make({});
  EXPECT_FALSE(sample.HasNews());
  EXPECT_FALSE(sample.Push({.id = 'h', .top = {}}));
  EXPECT_FALSE(sample.Push({.id = 'i', .top = {}}));
  EXPECT_TRUE(sample.HasNews());
  v1::Sample news = sample.Take();
  EXPECT_EQ(news.text(), "hi");
  EXPECT_THAT(news.token_ids(), ElementsAre('h', 'i'));
  EXPECT_EQ(news.finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_THAT(news.logprobs(), SizeIs(0));
  EXPECT_FALSE(sample.HasNews());

  sample.Finish(FinishReason::kLength);
  news = sample.Take();
  EXPECT_EQ(news.text(), "");
  EXPECT_EQ(news.finish_reason(), v1::LENGTH);
}

TEST_F(SampleOutputTest, CharactersComeWhole) {
  SampleOutput sample = Make({});
  EXPECT_THAT(Push(sample, {259, 0xAC, 'x'}), ElementsAre("", "\xE2\x82\xAC", "x"));
  EXPECT_THAT(Push(sample, {259}), ElementsAre(""));
  sample.Finish(FinishReason::kLength);
  EXPECT_EQ(sample.Take().text(), "\xEF\xBF\xBD");
}

TEST_F(SampleOutputTest, StopStringAcrossTokensIsNeverShown) {
  SampleOutput sample = Make({.stop = {"world"}});
  EXPECT_THAT(Push(sample, {'o', 257}), ElementsAre("o", ""));
  EXPECT_TRUE(sample.Push({.id = 258, .top = {}}));
  EXPECT_TRUE(sample.finished());
  EXPECT_FALSE(sample.Push({.id = '!', .top = {}}));  // made before the engine heard of it
  sample.Finish(FinishReason::kLength);
  const v1::Sample news = sample.Take();
  EXPECT_EQ(news.text(), "");
  EXPECT_THAT(news.token_ids(),
              ElementsAre(258));  // the token that completed the match is the last
  EXPECT_EQ(news.finish_reason(), v1::STOP);
}

TEST_F(SampleOutputTest, TextThatMerelyBeganLikeAStopStringComesLater) {
  SampleOutput sample = Make({.stop = {"world"}});
  EXPECT_THAT(Push(sample, {257, 'k'}), ElementsAre("", "work"));
  EXPECT_THAT(Push(sample, {257}), ElementsAre(""));
  sample.Finish(FinishReason::kLength);
  EXPECT_EQ(sample.Take().text(), "wor");
}

TEST_F(SampleOutputTest, StopStringIsKeptOnRequest) {
  SampleOutput sample = Make({.stop = {"rl"}, .include_stop = true});
  EXPECT_THAT(Push(sample, {257, 258, '!'}), ElementsAre("wo", "rl", ""));
}

TEST_F(SampleOutputTest, StopStringEndsTheTextInTheMiddleOfAToken) {
  SampleOutput sample = Make({.stop = {"rl"}});
  EXPECT_THAT(Push(sample, {257, 258}), ElementsAre("wo", ""));
}

TEST_F(SampleOutputTest, StopStringsBeforeMinTokensAreText) {
  request_.min_tokens = 5;
  SampleOutput sample = Make({.stop = {"ab"}});
  // The second match is complete with token 4, the third with token 6.
  EXPECT_THAT(Push(sample, {'a', 'b', 'a', 'b', 'a'}), ElementsAre("", "ab", "", "ab", ""));
  EXPECT_TRUE(sample.Push({.id = 'b', .top = {}}));
  EXPECT_EQ(sample.Take().text(), "");
}

TEST_F(SampleOutputTest, AMatchThatEndsAtMinTokensCountsWhereverItBegan) {
  request_.min_tokens = 3;
  SampleOutput sample = Make({.stop = {"abc"}});
  EXPECT_THAT(Push(sample, {'a', 'b', 'c'}), ElementsAre("", "", ""));
  EXPECT_TRUE(sample.finished());
}

TEST_F(SampleOutputTest, TheSearchGoesOnBehindAnIgnoredMatch) {
  request_.min_tokens = 2;
  SampleOutput sample = Make({.stop = {"w", "x"}});
  EXPECT_THAT(Push(sample, {257, 'x'}), ElementsAre("wor", ""));
  EXPECT_TRUE(sample.finished());
}

TEST_F(SampleOutputTest, EndOfSequenceHasNoText) {
  SampleOutput sample = Make({.stop = {}, .include_stop = true});
  EXPECT_THAT(Push(sample, {'a', kEndOfTextId}), ElementsAre("a", ""));
  request_.ignore_eos = true;
  SampleOutput ignoring = Make({});
  EXPECT_THAT(Push(ignoring, {kEndOfTextId}), ElementsAre("<|endoftext|>"));
}

TEST_F(SampleOutputTest, StopIdsHaveNoTextUnlessAskedFor) {
  request_.stop_token_ids = {'.'};
  SampleOutput sample = Make({});
  EXPECT_THAT(Push(sample, {'a', '.'}), ElementsAre("a", ""));
  SampleOutput keeping = Make({.stop = {}, .include_stop = true});
  EXPECT_THAT(Push(keeping, {'a', '.'}), ElementsAre("a", "."));
}

TEST_F(SampleOutputTest, IdsThatThePaddedVocabularyAddsHaveNoText) {
  SampleOutput sample = Make({});
  EXPECT_THAT(Push(sample, {'a', 1000, 'b'}), ElementsAre("a", "", "b"));
}

TEST_F(SampleOutputTest, WithoutTokenizerThereAreIdsOnly) {
  model_.tokenizer = nullptr;
  request_.logprobs = 1;
  SampleOutput sample = Make({});
  sample.Push({.id = 'a', .logprob = -1, .top = {{.id = 'b', .logprob = -2}}});
  sample.Finish(FinishReason::kStop);
  const v1::Sample news = sample.Take();
  EXPECT_EQ(news.text(), "");
  EXPECT_THAT(news.token_ids(), ElementsAre('a'));
  ASSERT_THAT(news.logprobs(), SizeIs(1));
  EXPECT_EQ(news.logprobs(0).piece(), "");
  EXPECT_EQ(news.logprobs(0).top(0).id(), 'b');
  EXPECT_EQ(news.finish_reason(), v1::STOP);
}

TEST_F(SampleOutputTest, LogprobsCarryPieces) {
  request_.logprobs = 1;
  SampleOutput sample = Make({});
  sample.Push({.id = 257, .logprob = -0.5, .top = {{.id = 258, .logprob = -0.25}}});
  const v1::Sample news = sample.Take();
  ASSERT_THAT(news.logprobs(), SizeIs(1));
  EXPECT_EQ(news.logprobs(0).id(), 257);
  EXPECT_EQ(news.logprobs(0).piece(), "wor");
  EXPECT_EQ(news.logprobs(0).logprob(), -0.5);
  EXPECT_EQ(news.logprobs(0).top(0).piece(), "ld");
}

}  // namespace
}  // namespace deltaserve
