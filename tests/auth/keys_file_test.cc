#include "auth/keys_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/escaping.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

v1::KeysFile::Tenant Named(const std::string& name) {
  v1::KeysFile::Tenant tenant;
  tenant.set_name(name);
  return tenant;
}

class KeysFileTest : public testing::Test {
 protected:
  std::string Text() const {
    std::stringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }
  // Why the file is refused.
  std::string Refusal(const std::string& text) const {
    std::ofstream(path_) << text;
    const auto file = ReadKeysFile(path_);
    EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << text << file.status();
    return std::string(file.status().message());
  }

  TempDir dir_;
  const std::string path_ = dir_ / "keys.textproto";
};

TEST_F(KeysFileTest, AnAddedKeyIsThereAndItsSecretIsNot) {
  const auto key = AddKey(path_, Named("acme"), /*admin=*/false);
  ASSERT_TRUE(key.ok()) << key.status();
  const auto file = ReadKeysFile(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tenants_size(), 1);
  EXPECT_EQ(file->tenants(0).name(), "acme");
  ASSERT_EQ(file->keys_size(), 1);
  EXPECT_EQ(file->keys(0).id(), key->id);
  EXPECT_FALSE(file->keys(0).admin());
  EXPECT_TRUE(Matches({.salt = absl::HexStringToBytes(file->keys(0).salt()),
                       .digest = absl::HexStringToBytes(file->keys(0).sha256())},
                      key->secret));
  EXPECT_THAT(Text(), Not(HasSubstr(key->secret)));
}

TEST_F(KeysFileTest, IsItsOwnersAlone) {
  ASSERT_TRUE(AddKey(path_, Named("acme"), false).ok());
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // Or whose it was made: its server may be somebody else.
  ASSERT_EQ(chmod(path_.c_str(), 0640), 0);
  ASSERT_TRUE(AddKey(path_, Named("brand"), false).ok());
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(KeysFileTest, AddingKeepsWhatIsThere) {
  std::ofstream(path_) << "# of the sales people\ntenants { name: \"acme\" tokens_per_minute: 9 }";
  ASSERT_TRUE(AddKey(path_, Named("acme"), true).ok());
  ASSERT_TRUE(AddKey(path_, Named("brand"), false).ok());
  EXPECT_THAT(Text(), StartsWith("# of the sales people\ntenants { name: \"acme\""));
  const auto file = ReadKeysFile(path_);
  ASSERT_EQ(file->tenants_size(), 2);
  EXPECT_EQ(file->tenants(0).tokens_per_minute(), 9);
  ASSERT_EQ(file->keys_size(), 2);
  EXPECT_TRUE(file->keys(0).admin());
  EXPECT_EQ(file->keys(1).tenant(), "brand");
}

TEST_F(KeysFileTest, ATenantThatIsThereIsNotChanged) {
  ASSERT_TRUE(AddKey(path_, Named("acme"), false).ok());
  v1::KeysFile::Tenant more = Named("acme");
  more.set_requests_per_minute(5);
  const std::string before = Text();
  EXPECT_TRUE(absl::IsAlreadyExists(AddKey(path_, more, false).status()));
  EXPECT_EQ(Text(), before);
}

TEST_F(KeysFileTest, ABrokenFileIsNotAddedTo) {
  std::ofstream(path_) << "tenants {";
  EXPECT_TRUE(absl::IsInvalidArgument(AddKey(path_, Named("acme"), false).status()));
  EXPECT_EQ(Text(), "tenants {");
}

TEST_F(KeysFileTest, AFileThatCannotBeWritten) {
  const auto key = AddKey(dir_ / "none" / "keys", Named("acme"), false);
  EXPECT_TRUE(absl::IsUnavailable(key.status())) << key.status();
  EXPECT_TRUE(absl::IsNotFound(ReadKeysFile(dir_ / "none").status()));
}

TEST_F(KeysFileTest, RefusalsSayWhereAndWhat) {
  EXPECT_THAT(Refusal("tenants {\n  nam: 1\n}"), StartsWith(path_ + ":2:"));
  EXPECT_THAT(Refusal("tenants {}"), HasSubstr("cannot be a name"));
  EXPECT_THAT(Refusal("tenants { name: 'a b' }"), HasSubstr("\"a b\" cannot be a name"));
  EXPECT_THAT(Refusal("tenants { name: 'a' } tenants { name: 'a' }"),
              HasSubstr("tenant a is there twice"));
  EXPECT_THAT(Refusal("tenants { name: 'a' requests_per_minute: 0 }"),
              HasSubstr("tenant a: requests_per_minute: not above 0"));
  EXPECT_THAT(Refusal("tenants { name: 'a' tokens_per_minute: -1 }"),
              HasSubstr("tokens_per_minute: not above 0"));
  EXPECT_THAT(Refusal("tenants { name: 'a' budget { usd: '1e3' period: 'day' } }"),
              HasSubstr("budget: usd: \"1e3\" is not a decimal"));
  EXPECT_THAT(Refusal("tenants { name: 'a' budget { usd: '1' period: 'week' } }"),
              HasSubstr("\"week\" is none of day, month, total"));
  EXPECT_THAT(Refusal("keys { id: 'a.b' }"), HasSubstr("\"a.b\" cannot be an id"));
  EXPECT_THAT(Refusal("keys { id: 'k' tenant: 'b' }"),
              HasSubstr("key k: there is no tenant \"b\""));
  const std::string tenant = "tenants { name: 'a' }";
  EXPECT_THAT(Refusal(tenant + "keys { id: 'k' tenant: 'a' salt: 'zz' }"), HasSubstr("salt: not"));
  const std::string salt(32, 'a');
  EXPECT_THAT(Refusal(tenant + "keys { id: 'k' tenant: 'a' salt: '" + salt + "' sha256: 'a' }"),
              HasSubstr("sha256: not"));
  const std::string key =
      "keys { id: 'k' tenant: 'a' salt: '" + salt + "' sha256: '" + salt + salt + "' }";
  EXPECT_THAT(Refusal(tenant + key + key), HasSubstr("key k: is there twice"));
}

}  // namespace
}  // namespace deltaserve
