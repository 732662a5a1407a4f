#include "auth/api_key.h"

#include <gtest/gtest.h>

namespace deltaserve {
namespace {

TEST(ApiKeyTest, ComesBackFromItsText) {
  const ApiKey key = GenerateApiKey();
  EXPECT_EQ(key.id.size(), 16);
  EXPECT_EQ(key.secret.size(), 64);
  const auto parsed = ParseApiKey(key.Text());
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->id, key.id);
  EXPECT_EQ(parsed->secret, key.secret);
}

TEST(ApiKeyTest, NoTwoAreTheSame) {
  EXPECT_NE(GenerateApiKey().id, GenerateApiKey().id);
  EXPECT_NE(GenerateApiKey().secret, GenerateApiKey().secret);
}

TEST(ApiKeyTest, WhatHasNotItsForm) {
  for (const char* text : {"", ".", "id", "id.", ".secret"}) {
    EXPECT_FALSE(ParseApiKey(text).has_value()) << text;
  }
  EXPECT_EQ(ParseApiKey("id.sec.ret")->secret, "sec.ret");
}

TEST(SecretHashTest, MatchesItsSecretAlone) {
  const SecretHash hash = HashSecret("open sesame");
  EXPECT_TRUE(Matches(hash, "open sesame"));
  for (const char* other : {"", "open sesam", "open sesame ", "Open sesame"}) {
    EXPECT_FALSE(Matches(hash, other)) << other;
  }
}

TEST(SecretHashTest, IsSalted) {
  const SecretHash a = HashSecret("x");
  const SecretHash b = HashSecret("x");
  EXPECT_EQ(a.salt.size(), kSaltBytes);
  EXPECT_NE(a.salt, b.salt);
  EXPECT_NE(a.digest, b.digest);
}

// SHA-256 of "abc" (FIPS 180-2, B.1).
TEST(SecretHashTest, IsSha256) {
  const SecretHash hash = {.salt = "a",
                           .digest = std::string("\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde"
                                                 "\x5d\xae\x22\x23\xb0\x03\x61\xa3\x96\x17\x7a\x9c"
                                                 "\xb4\x10\xff\x61\xf2\x00\x15\xad",
                                                 32)};
  EXPECT_TRUE(Matches(hash, "bc"));
}

TEST(SecretHashTest, WhatIsCutShortMatchesNothing) {
  EXPECT_FALSE(Matches({.salt = "", .digest = ""}, ""));
}

}  // namespace
}  // namespace deltaserve
