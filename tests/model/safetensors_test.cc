#include "server/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string HeaderError(const std::string& header, int64_t data_size_bytes) {
  const absl::StatusOr<TensorTable> table = ParseSafetensorsHeader(header, data_size_bytes);
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << header;
  return std::string(table.status().message());
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":", offsets, "}");
}

std::string Header(const std::vector<std::string>& entries) {
  return absl::StrCat("{", absl::StrJoin(entries, ","), "}");
}

// Counts from `first` on.
TensorToWrite Counting(const std::string& name, Shape shape, DType dtype, float first) {
  return {name, shape, dtype, [next = first](absl::Span<float> values) mutable {
            for (float& value : values) value = next++;
          }};
}

TEST(SafetensorsHeaderTest, DescribesTheTensors) {
  const std::string header =
      Header({"\"__metadata__\":{\"format\":\"pt\"}", Entry("b", "BF16", "[2,3]", "[8,20]"),
              Entry("a", "F32", "[2]", "[0,8]"), Entry("empty", "F16", "[0,7]", "[8,8]"),
              Entry("scalar", "F16", "[]", "[20,22]")});
  const absl::StatusOr<TensorTable> table = ParseSafetensorsHeader(header, 22);
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->size(), 4u);
  const TensorEntry& b = table->at("b");
  EXPECT_EQ(b.dtype, DType::kBF16);
  EXPECT_EQ(b.shape, Shape({2, 3}));
  EXPECT_EQ(b.offset_bytes, 8);
  EXPECT_EQ(b.size_bytes, 12);
  EXPECT_EQ(table->at("scalar").shape.rank(), 0);
}

TEST(SafetensorsHeaderTest, LyingEntriesAreRefusedByName) {
  const struct {
    std::string entry;
    const char* message;
  } cases[] = {
      {"\"a\":7", "its entry is 7, not an object"},
      {Entry("a", "F64", "[1]", "[0,8]"), "dtype \"F64\" is none of F32, F16, BF16"},
      {Entry("a", "F32", "[3]", "[0,8]"), "span 8 bytes, but \"F32\" [3] takes 12"},
      {Entry("a", "F32", "[-2]", "[0,8]"), "shape [-2] is not a list"},
      {Entry("a", "F32", "[2.0]", "[0,8]"), "shape [2.0] is not a list"},
      {Entry("a", "F32", "2", "[0,8]"), "shape 2 is not a list"},
      {Entry("a", "F32", "[1,1,1,1,2]", "[0,8]"), "is not a list of up to 4 sizes"},
      {Entry("a", "F32", "[4294967296,4294967296]", "[0,8]"), "is too large"},
      {Entry("a", "F32", "[18446744073709551615]", "[0,8]"), "is not a list"},
      {Entry("a", "F32", "[2]", "[8,0]"), "data_offsets [8,0] are not [begin, end]"},
      {Entry("a", "F32", "[2]", "[-8,0]"), "data_offsets [-8,0] are not [begin, end]"},
      {Entry("a", "F32", "[2]", "[0]"), "data_offsets [0] are not [begin, end]"},
      {Entry("a", "F32", "[4]", "[0,16]"), "ends at byte 16, but the file has only 8 bytes"},
      {Entry("a", "F32", "[1]", "[4,8]"), "a gap of 4 bytes lies before its data"},
      {"\"a\":{\"dtype\":\"F32\",\"shape\":[2]}", "data_offsets null are not [begin, end]"},
      {"\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}", "dtype null is none of"},
      {"\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}", "shape null is not a list"},
      {"\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"stride\":1}",
       "unknown field \"stride\""},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(HeaderError(Header({test.entry}), 8),
                AllOf(HasSubstr("tensor \"a\""), HasSubstr(test.message)));
  }
}

TEST(SafetensorsHeaderTest, TensorsMustTileTheData) {
  EXPECT_THAT(
      HeaderError(Header({Entry("a", "F32", "[2]", "[0,8]"), Entry("b", "F32", "[2]", "[4,12]")}),
                  12),
      HasSubstr("tensor \"b\": its data overlaps that of \"a\""));
  EXPECT_THAT(
      HeaderError(Header({Entry("a", "F32", "[2]", "[0,8]"), Entry("b", "F32", "[2]", "[0,8]")}),
                  8),
      HasSubstr("overlaps"));
  EXPECT_THAT(
      HeaderError(Header({Entry("a", "F32", "[2]", "[0,8]"), Entry("b", "F32", "[2]", "[12,20]")}),
                  20),
      HasSubstr("tensor \"b\": a gap of 4 bytes"));
  EXPECT_THAT(HeaderError(Header({Entry("a", "F32", "[2]", "[0,8]")}), 11),
              HasSubstr("the last 3 bytes of the file belong to no tensor"));
}

TEST(SafetensorsHeaderTest, MalformedHeadersAreRefused) {
  EXPECT_THAT(HeaderError("", 0), HasSubstr("malformed JSON"));
  EXPECT_THAT(HeaderError("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(HeaderError("{\"a\":", 0), HasSubstr("malformed JSON"));
  EXPECT_THAT(HeaderError(std::string(1 << 20, '['), 0), HasSubstr("nested deeper"));
  EXPECT_THAT(HeaderError("{\"__metadata__\":{\"a\":1}}", 0), HasSubstr("__metadata__"));
  EXPECT_THAT(
      HeaderError(Header({Entry("a", "F32", "[2]", "[0,8]"), Entry("a", "F32", "[2]", "[0,8]")}),
                  8),
      HasSubstr("key \"a\" is given twice"));
}

class SafetensorsFileTest : public testing::Test {
 protected:
  absl::Status OpenError() { return SafetensorsFile::Open(path_).status(); }

  TempDir dir_;
  const std::filesystem::path path_ = dir_ / "model.safetensors";
};

TEST_F(SafetensorsFileTest, ReadsAnyPartOfATensor) {
  ASSERT_TRUE(WriteSafetensors(path_, {Counting("a", {3}, DType::kBF16, 1),
                                       Counting("b", {2, 5}, DType::kF32, 100)})
                  .ok());
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> part(3);
  const auto bytes = absl::MakeSpan(reinterpret_cast<std::byte*>(part.data()), 12);
  ASSERT_TRUE(file->Read("b", 4 * 4, bytes).ok());
  EXPECT_THAT(part, testing::ElementsAre(104, 105, 106));

  EXPECT_EQ(file->Read("c", 0, bytes).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(file->Read("b", 8 * 4, bytes).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(file->Read("b", -4, bytes).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(file->Find("c"), nullptr);
}

TEST_F(SafetensorsFileTest, ManyThreadsReadAtOnce) {
  ASSERT_TRUE(WriteSafetensors(path_, {Counting("a", {1000}, DType::kF32, 0),
                                       Counting("b", {1000}, DType::kF32, 5000)})
                  .ok());
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto read = [&](const char* name, float first) {
    for (int i = 0; i < 1000; ++i) {
      float value = -1;
      const auto bytes = absl::MakeSpan(reinterpret_cast<std::byte*>(&value), sizeof(value));
      ASSERT_TRUE(file->Read(name, i * 4, bytes).ok());
      ASSERT_EQ(value, first + static_cast<float>(i));
    }
  };
  std::thread other(read, "a", 0.0f);
  read("b", 5000.0f);
  other.join();
}

TEST_F(SafetensorsFileTest, ErrorsNameTheFile) {
  EXPECT_EQ(OpenError().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr(path_.string()));
  std::filesystem::create_directory(path_);
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("is not a regular file"));
}

TEST_F(SafetensorsFileTest, HeaderLengthIsChecked) {
  const auto write = [&](uint64_t length, const std::string& rest) {
    std::ofstream file(path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof(length));
    file << rest;
  };
  write(1000, "{}");
  EXPECT_THAT(std::string(OpenError().message()),
              HasSubstr("its header claims 1000 bytes, but only 2 follow"));
  write(~uint64_t{0}, "{}");
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("at most 100000000 are allowed"));
  write(100'000'001, "{}");
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("at most 100000000 are allowed"));
  write(0, "");
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("malformed JSON"));
  std::filesystem::resize_file(path_, 7);
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("it has only 7 bytes"));
}

TEST_F(SafetensorsFileTest, EveryTruncationOfAFileIsRefused) {
  ASSERT_TRUE(WriteSafetensors(path_, {Counting("a", {2}, DType::kF32, 0)}).ok());
  for (uintmax_t size = std::filesystem::file_size(path_); size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    EXPECT_EQ(OpenError().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST_F(SafetensorsFileTest, FileTruncatedWhileOpenIsAnError) {
  ASSERT_TRUE(WriteSafetensors(path_, {Counting("a", {4096}, DType::kF32, 0)}).ok());
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  std::filesystem::resize_file(path_, 1000);
  std::vector<std::byte> bytes(4096 * 4);
  const absl::Status status = file->Read("a", 0, absl::MakeSpan(bytes));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path_.string()), HasSubstr("\"a\"")));
}

TEST_F(SafetensorsFileTest, MovedFilesStayOpen) {
  ASSERT_TRUE(WriteSafetensors(path_, {Counting("a", {1}, DType::kF32, 7)}).ok());
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  SafetensorsFile moved = *std::move(file);
  float value = 0;
  const auto bytes = absl::MakeSpan(reinterpret_cast<std::byte*>(&value), sizeof(value));
  ASSERT_TRUE(moved.Read("a", 0, bytes).ok());
  EXPECT_EQ(value, 7);
}

TEST(GoldenFixtureTest, EveryFixtureLoads) {
  EXPECT_EQ(GoldenFixtureDirs().size(), 12u);
  for (const std::filesystem::path& dir : GoldenFixtureDirs()) {
    const absl::StatusOr<GoldenFixture> fixture = LoadGoldenFixture(dir);
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    ASSERT_FALSE(fixture->prompts.empty());
    for (const GoldenPrompt& prompt : fixture->prompts) {
      EXPECT_EQ(prompt.token_logprobs.size() + 1, prompt.tokens.size());
      const GoldenTensor* logits = fixture->Find(prompt, "logits");
      ASSERT_NE(logits, nullptr);
      EXPECT_EQ(logits->shape[0], static_cast<int64_t>(prompt.tokens.size()));
      EXPECT_EQ(fixture->Find(prompt, "state") != nullptr, prompt.traced);
    }
  }
}

}  // namespace
}  // namespace deltaserve
