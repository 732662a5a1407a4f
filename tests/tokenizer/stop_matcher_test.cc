#include "server/tokenizer/stop_matcher.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tests/tokenizer/test_data.h"

namespace deltaserve {
namespace {

StopMatcher Matcher(std::vector<std::string> stops, bool include_stop = false) {
  return StopMatcher::Create(std::move(stops), include_stop).value();
}

TEST(StopMatcher, WithoutStopsLetsEverythingPass) {
  StopMatcher matcher = Matcher({});
  EXPECT_EQ(matcher.Push("abc"), "abc");
  EXPECT_EQ(matcher.Push(""), "");
  EXPECT_EQ(matcher.Flush(), "");
  EXPECT_EQ(matcher.matched(), std::nullopt);
}

TEST(StopMatcher, NeverLeaksPartOfAStopAcrossPieces) {
  StopMatcher matcher = Matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.Push("Fine.\n"), "Fine.");
  EXPECT_EQ(matcher.Push("\nUs"), "");
  EXPECT_EQ(matcher.Push("er"), "");
  EXPECT_EQ(matcher.Push(": more"), "");
  EXPECT_EQ(matcher.matched(), 0u);
  EXPECT_EQ(matcher.Push("and more"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, LetsGoOfWhatTurnsOutNotToBeAStop) {
  StopMatcher matcher = Matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.Push("\n\nUs"), "");
  EXPECT_EQ(matcher.Push("age\n"), "\n\nUsage");
  EXPECT_EQ(matcher.Flush(), "\n");
  EXPECT_EQ(matcher.matched(), std::nullopt);
}

TEST(StopMatcher, HoldsBackTheLongestBorder) {
  StopMatcher matcher = Matcher({"aab"});
  EXPECT_EQ(matcher.Push("aaa"), "a");
  EXPECT_EQ(matcher.Push("a"), "a");
  EXPECT_EQ(matcher.Push("b"), "");
  EXPECT_EQ(matcher.matched(), 0u);
}

TEST(StopMatcher, IncludesTheStopWhenAsked) {
  StopMatcher matcher = Matcher({"END"}, /*include_stop=*/true);
  EXPECT_EQ(matcher.Push("the E"), "the ");
  EXPECT_EQ(matcher.Push("ND of it"), "END");
  EXPECT_EQ(matcher.matched(), 0u);
}

TEST(StopMatcher, TakesTheMatchThatIsCompleteFirst) {
  StopMatcher matcher = Matcher({"abcd", "bc"});
  EXPECT_EQ(matcher.Push("abcd"), "a");
  EXPECT_EQ(matcher.matched(), 1u);
}

TEST(StopMatcher, TakesTheLongestOfThoseEndingTogether) {
  StopMatcher matcher = Matcher({"c", "abc", "bc"});
  EXPECT_EQ(matcher.Push("xabc"), "x");
  EXPECT_EQ(matcher.matched(), 1u);
}

TEST(StopMatcher, RefusesWhatTheLimitsForbid) {
  EXPECT_EQ(StopMatcher::Create({"a", ""}, false).status().message(), "stop string 1 is empty");
  EXPECT_EQ(StopMatcher::Create(std::vector<std::string>(17, "a"), false).status().message(),
            "17 stop strings; the limit is 16");
  EXPECT_TRUE(StopMatcher::Create(std::vector<std::string>(16, "a"), false).ok());
}

struct Outcome {
  std::string text;
  std::optional<size_t> end;  // of the match
};

// Looks at every prefix of the text, and in it for every stop at its end.
Outcome ByDefinition(const std::vector<std::string>& stops, bool include_stop,
                     const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view prefix = std::string_view(text).substr(0, end);
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (prefix.ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, include_stop ? end : end - longest), end};
  }
  return {text, std::nullopt};
}

// How much of `text`, which holds no match, may be let out: all but the longest end that begins
// a stop.
size_t SafeSize(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (const std::string& stop : stops) {
      if (stop.starts_with(text.substr(begin))) return begin;
    }
  }
  return text.size();
}

TEST(StopMatcher, AgreesWithTheDefinition) {
  Random random(1);
  const auto random_word = [&](size_t size) {
    std::string word;
    while (word.size() < size) word.push_back("ab"[Below(random, 2)]);
    return word;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(Below(random, 5));
    for (std::string& stop : stops) stop = random_word(1 + Below(random, 8));
    const bool include_stop = Below(random, 2) == 0;
    const std::string text = random_word(Below(random, 40));
    const Outcome expected = ByDefinition(stops, include_stop, text);

    StopMatcher matcher = Matcher(stops, include_stop);
    std::string passed;
    for (size_t seen = 0; seen < text.size();) {
      const size_t size = std::min(Below(random, 6), text.size() - seen);
      passed += matcher.Push(text.substr(seen, size));
      seen += size;
      const bool complete = expected.end.has_value() && *expected.end <= seen;
      ASSERT_EQ(matcher.matched().has_value(), complete);
      // Exactly what is safe so far: nothing leaks, nothing is late.
      ASSERT_EQ(passed,
                complete ? expected.text : text.substr(0, SafeSize(stops, text.substr(0, seen))));
    }
    passed += matcher.Flush();
    ASSERT_EQ(passed, expected.text);
  }
}

TEST(StopMatcher, NeverCutsACharacter) {
  // "é" and "è" share their first byte.
  StopMatcher matcher = Matcher({"è!"});
  EXPECT_EQ(matcher.Push("é"), "é");
  EXPECT_EQ(matcher.Push("è"), "");
  EXPECT_EQ(matcher.Push("é"), "èé");
}

TEST(StopMatcher, TakesLongStopsInLinearTime) {
  constexpr size_t kSize = 1 << 20;
  StopMatcher matcher = Matcher({std::string(kSize, 'a') + "b"});
  EXPECT_EQ(matcher.Push(std::string(2 * kSize, 'a')), std::string(kSize, 'a'));
  EXPECT_EQ(matcher.Push("b"), "");
  EXPECT_EQ(matcher.matched(), 0u);
}

}  // namespace
}  // namespace deltaserve
