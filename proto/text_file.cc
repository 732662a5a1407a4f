#include "proto/text_file.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <fstream>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

// Keeps the first error, as file:line:column.
class FileErrors final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FileErrors(const std::string& path) : path_(path) {}

  void AddError(int line, int column, const std::string& message) override {
    if (first_.empty()) {
      first_ = absl::StrCat(path_, ":", line + 1, ":", column + 1, ": ", message);
    }
  }
  const std::string& first() const { return first_; }

 private:
  const std::string path_;
  std::string first_;
};

}  // namespace

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char buffer[4096];
  while (file.read(buffer, sizeof(buffer)) || file.gcount() > 0) {
    text.append(buffer, file.gcount());
  }
  if (!file.eof()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return text;
}

absl::Status ParseText(const std::string& path, const std::string& text,
                       google::protobuf::Message* message) {
  FileErrors errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (parser.ParseFromString(text, message)) return absl::OkStatus();
  return absl::InvalidArgumentError(errors.first());
}

}  // namespace deltaserve
