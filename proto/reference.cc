#include "proto/reference.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <fstream>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace deltaserve {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::OneofDescriptor;
using google::protobuf::ServiceDescriptor;
using google::protobuf::SourceLocation;

constexpr char kHead[] =
    "# Reference\n\n"
    "Every call, message and field, as `proto/deltaserve/v1` has them: made of its comments by\n"
    "`cmake --build build/release --target reference`. `docs/api.md` says what they mean "
    "together.\n";

// On one line, and fit for a table.
std::string Flat(std::string text) {
  absl::StripAsciiWhitespace(&text);
  return absl::StrReplaceAll(text, {{"\n ", " "}, {"\n", " "}, {"|", "\\|"}});
}

struct Comments {
  std::string before, behind;
};

template <typename Element>
Comments CommentsOf(const Element& element) {
  SourceLocation location;
  if (!element.GetSourceLocation(&location)) return {};
  return {Flat(location.leading_comments), Flat(location.trailing_comments)};
}

template <typename Element>
std::string CommentOf(const Element& element) {
  const Comments comments = CommentsOf(element);
  const bool both = !comments.before.empty() && !comments.behind.empty();
  return absl::StrCat(comments.before, both ? " " : "", comments.behind);
}

// What stands at the head of the file.
std::string CommentOf(const FileDescriptor& file) {
  using google::protobuf::FileDescriptorProto;
  std::string text;
  for (const int part :
       {FileDescriptorProto::kSyntaxFieldNumber, FileDescriptorProto::kPackageFieldNumber}) {
    SourceLocation location;
    if (file.GetSourceLocation({part}, &location)) text += location.leading_comments;
  }
  return Flat(std::move(text));
}

// A type's name within its package, such as ScoreRequest.Continuation.
template <typename Type>
std::string NameOf(const Type& type) {
  return std::string(type.full_name().substr(type.file()->package().size() + 1));
}

template <typename Type>
std::string LinkTo(const Type& type, const FileDescriptor& from) {
  if (type.file()->package() != from.package()) return absl::StrCat("`", type.full_name(), "`");
  const std::string name = NameOf(type);
  const std::string anchor = absl::StrReplaceAll(absl::AsciiStrToLower(name), {{".", ""}});
  return absl::StrCat("[", name, "](#", anchor, ")");
}

std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) {
    const Descriptor& entry = *field.message_type();
    return absl::StrCat("map of ", TypeOf(*entry.map_key()), " to ", TypeOf(*entry.map_value()));
  }
  if (field.message_type() != nullptr) return LinkTo(*field.message_type(), *field.file());
  if (field.enum_type() != nullptr) return LinkTo(*field.enum_type(), *field.file());
  return field.type_name();
}

void AddRow(std::string_view name, std::string_view type, std::string_view what,
            std::string& page) {
  absl::StrAppend(&page, "| ", std::string(name), " | ", std::string(type), " | ",
                  std::string(what), what.empty() ? "|\n" : " |\n");
}

void AddField(const FieldDescriptor& field, std::string& page) {
  Comments comments = CommentsOf(field);
  if (comments.behind.empty()) {
    comments.behind.swap(comments.before);
  } else if (!comments.before.empty()) {
    AddRow("", "", absl::StrCat("*", comments.before, "*"), page);
  }
  std::string type = TypeOf(field);
  if (field.is_repeated() && !field.is_map()) type = absl::StrCat("repeated ", type);
  if (field.has_optional_keyword()) type = absl::StrCat("optional ", type);
  if (const OneofDescriptor* const one = field.real_containing_oneof(); one != nullptr) {
    if (one->field(0) == &field) {
      const std::string what = CommentOf(*one);
      AddRow("", "",
             absl::StrCat("*One of `", one->name(), "`", what.empty() ? "" : ": ", what, "*"),
             page);
    }
  }
  AddRow(absl::StrCat("`", field.name(), "`"), type, comments.behind, page);
}

void AddHeading(std::string_view name, const std::string& what, std::string& page) {
  absl::StrAppend(&page, "\n### ", std::string(name), "\n");
  if (!what.empty()) absl::StrAppend(&page, "\n", what, "\n");
}

void AddEnum(const EnumDescriptor& type, std::string& page) {
  AddHeading(NameOf(type), CommentOf(type), page);
  page += "\n| value | number | |\n|---|---|---|\n";
  for (int i = 0; i < type.value_count(); ++i) {
    AddRow(absl::StrCat("`", type.value(i)->name(), "`"), absl::StrCat(type.value(i)->number()),
           CommentOf(*type.value(i)), page);
  }
}

void AddMessage(const Descriptor& type, std::string& page) {
  AddHeading(NameOf(type), CommentOf(type), page);
  if (type.field_count() == 0) page += "\nNo fields.\n";
  if (type.field_count() > 0) page += "\n| field | type | |\n|---|---|---|\n";
  for (int i = 0; i < type.field_count(); ++i) AddField(*type.field(i), page);
  for (int i = 0; i < type.nested_type_count(); ++i) {
    if (!type.nested_type(i)->options().map_entry()) AddMessage(*type.nested_type(i), page);
  }
  for (int i = 0; i < type.enum_type_count(); ++i) AddEnum(*type.enum_type(i), page);
}

void AddService(const ServiceDescriptor& service, std::string& page) {
  AddHeading(service.name(), CommentOf(service), page);
  page += "\n| call | takes and gives | |\n|---|---|---|\n";
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    const FileDescriptor& file = *service.file();
    AddRow(absl::StrCat("`", method.name(), "`"),
           absl::StrCat(method.client_streaming() ? "stream of " : "",
                        LinkTo(*method.input_type(), file), " → ",
                        method.server_streaming() ? "stream of " : "",
                        LinkTo(*method.output_type(), file)),
           CommentOf(method), page);
  }
}

}  // namespace

std::vector<std::string> ReferenceFiles() {
  return {"deltaserve/v1/inference.proto",      "deltaserve/v1/types.proto",
          "deltaserve/v1/status_details.proto", "deltaserve/v1/admin.proto",
          "deltaserve/v1/config.proto",         "deltaserve/v1/keys.proto"};
}

absl::StatusOr<std::string> ReferencePage(const std::filesystem::path& descriptors,
                                          const std::vector<std::string>& files) {
  google::protobuf::FileDescriptorSet set;
  std::ifstream stream(descriptors, std::ios::binary);
  if (!set.ParseFromIstream(&stream)) {
    return absl::InvalidArgumentError(
        absl::StrCat(descriptors.string(), " is not a set of descriptors"));
  }
  google::protobuf::DescriptorPool pool;
  for (const google::protobuf::FileDescriptorProto& file : set.file()) {
    if (pool.BuildFile(file) == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(file.name(), " does not fit those before it"));
    }
  }
  std::string page = kHead;
  for (const std::string& name : files) {
    const FileDescriptor* const file = pool.FindFileByName(name);
    if (file == nullptr) {
      return absl::NotFoundError(absl::StrCat(descriptors.string(), " has no ", name));
    }
    absl::StrAppend(&page, "\n## ", name, "\n");
    if (const std::string what = CommentOf(*file); !what.empty()) {
      absl::StrAppend(&page, "\n", what, "\n");
    }
    for (int i = 0; i < file->service_count(); ++i) AddService(*file->service(i), page);
    for (int i = 0; i < file->message_type_count(); ++i) AddMessage(*file->message_type(i), page);
    for (int i = 0; i < file->enum_type_count(); ++i) AddEnum(*file->enum_type(i), page);
  }
  return page;
}

}  // namespace deltaserve
