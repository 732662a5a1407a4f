#include "server/model/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"
#include "server/model/strict_json.h"

namespace deltaserve {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

constexpr int64_t kLengthBytes = 8;               // the header's length stands before it
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr size_t kMaxRank = 4;

std::optional<DType> ParseDType(const json& name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  return std::nullopt;
}

Shape MakeShape(const std::vector<int64_t>& dims) {
  switch (dims.size()) {
    case 0:
      return {};
    case 1:
      return {dims[0]};
    case 2:
      return {dims[0], dims[1]};
    case 3:
      return {dims[0], dims[1], dims[2]};
    default:
      return {dims[0], dims[1], dims[2], dims[3]};
  }
}

absl::Status TensorError(const std::string& tensor, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(tensor), ": ", message));
}

// A list of non-negative integers that fit an int64_t.
std::optional<std::vector<int64_t>> ParseSizes(const json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const json& size : list) {
    if (!size.is_number_unsigned() || size.get<int64_t>() < 0) return std::nullopt;
    sizes.push_back(size.get<int64_t>());
  }
  return sizes;
}

absl::StatusOr<TensorEntry> ParseEntry(const std::string& name, const json& fields) {
  if (!fields.is_object()) {
    return TensorError(name, absl::StrCat("its entry is ", Show(fields), ", not an object"));
  }
  for (const auto& field : fields.items()) {
    if (field.key() != "dtype" && field.key() != "shape" && field.key() != "data_offsets") {
      return TensorError(name, absl::StrCat("unknown field ", Quoted(field.key())));
    }
  }
  const json dtype = fields.value("dtype", json());
  const json shape = fields.value("shape", json());
  const json offsets = fields.value("data_offsets", json());

  TensorEntry entry;
  const std::optional<DType> known = ParseDType(dtype);
  if (!known) {
    return TensorError(name, absl::StrCat("dtype ", Show(dtype), " is none of F32, F16, BF16"));
  }
  entry.dtype = *known;

  const std::optional<std::vector<int64_t>> dims = ParseSizes(shape);
  if (!dims || dims->size() > kMaxRank) {
    return TensorError(
        name, absl::StrCat("shape ", Show(shape), " is not a list of up to ", kMaxRank, " sizes"));
  }
  entry.shape = MakeShape(*dims);
  int64_t wanted_bytes = SizeBytes(entry.dtype);
  for (int64_t dim : *dims) {
    if (__builtin_mul_overflow(wanted_bytes, dim, &wanted_bytes)) {
      return TensorError(name, absl::StrCat("shape ", Show(shape), " is too large"));
    }
  }

  const std::optional<std::vector<int64_t>> span = ParseSizes(offsets);
  if (!span || span->size() != 2 || (*span)[0] > (*span)[1]) {
    return TensorError(name, absl::StrCat("data_offsets ", Show(offsets), " are not [begin, end]"));
  }
  entry.offset_bytes = (*span)[0];
  entry.size_bytes = (*span)[1] - (*span)[0];
  if (entry.size_bytes != wanted_bytes) {
    return TensorError(
        name, absl::StrCat("data_offsets ", Show(offsets), " span ", entry.size_bytes,
                           " bytes, but ", Show(dtype), " ", Show(shape), " takes ", wanted_bytes));
  }
  return entry;
}

absl::Status CheckMetadata(const json& metadata) {
  const bool strings =
      metadata.is_object() && std::all_of(metadata.begin(), metadata.end(),
                                          [](const json& value) { return value.is_string(); });
  if (strings) return absl::OkStatus();
  return absl::InvalidArgumentError("__metadata__ is not a map of strings");
}

// The spans, sorted, must follow one another from 0 to the end of the data.
absl::Status CheckTiling(const TensorTable& tensors, int64_t data_size_bytes) {
  std::vector<const TensorTable::value_type*> sorted;
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  const auto span = [](const auto* tensor) {
    const TensorEntry& entry = tensor->second;
    return std::pair(entry.offset_bytes, entry.offset_bytes + entry.size_bytes);
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const auto* a, const auto* b) { return span(a) < span(b); });
  int64_t covered = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const auto [begin, end] = span(sorted[i]);
    if (end > data_size_bytes) {
      return TensorError(sorted[i]->first,
                         absl::StrCat("its data ends at byte ", end, ", but the file has only ",
                                      data_size_bytes, " bytes of data"));
    }
    if (begin < covered) {
      return TensorError(sorted[i]->first,
                         absl::StrCat("its data overlaps that of ", Quoted(sorted[i - 1]->first)));
    }
    if (begin > covered) {
      return TensorError(sorted[i]->first,
                         absl::StrCat("a gap of ", begin - covered, " bytes lies before its data"));
    }
    covered = end;
  }
  if (covered != data_size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("the last ", data_size_bytes - covered,
                                                   " bytes of the file belong to no tensor"));
  }
  return absl::OkStatus();
}

// Fills `out` from byte `offset` of the file on.
absl::Status ReadBytes(int fd, int64_t offset, absl::Span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = pread(fd, out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, "reading failed");
    if (count == 0) {
      return absl::DataLossError(absl::StrCat("the file ends at or before byte ", offset, ", ",
                                              out.size(), " bytes too early"));
    }
    offset += count;
    out.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::Status Annotate(const absl::Status& status, const std::string& prefix) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(prefix, ": ", status.message()));
}

}  // namespace

absl::StatusOr<TensorTable> ParseSafetensorsHeader(std::string_view text, int64_t data_size_bytes) {
  absl::StatusOr<json> header = ParseStrictJson(text);
  if (!header.ok()) return Annotate(header.status(), "header");
  if (!header->is_object()) return absl::InvalidArgumentError("header is not a JSON object");
  TensorTable tensors;
  for (const auto& item : header->items()) {
    if (item.key() == "__metadata__") {
      RETURN_IF_ERROR(CheckMetadata(item.value()));
      continue;
    }
    ASSIGN_OR_RETURN(const TensorEntry entry, ParseEntry(item.key(), item.value()));
    tensors.emplace(item.key(), entry);
  }
  RETURN_IF_ERROR(CheckTiling(tensors, data_size_bytes));
  return tensors;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  // O_NONBLOCK: a pipe of that name must not hang the process.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path.string(), ": cannot be opened"));
  SafetensorsFile file(path, fd);
  if (absl::Status status = file.ReadHeader(); !status.ok()) {
    return Annotate(status, path.string());
  }
  return file;
}

absl::Status SafetensorsFile::ReadHeader() {
  struct stat info;
  if (fstat(fd_, &info) != 0) return absl::ErrnoToStatus(errno, "cannot be examined");
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("is not a regular file");
  const int64_t file_bytes = info.st_size;
  if (file_bytes < kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("is no safetensors file: it has only ", file_bytes, " bytes"));
  }
  uint64_t header_bytes = 0;
  RETURN_IF_ERROR(
      ReadBytes(fd_, 0, absl::MakeSpan(reinterpret_cast<std::byte*>(&header_bytes), kLengthBytes)));
  if (header_bytes > uint64_t{kMaxHeaderBytes}) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its header claims ", header_bytes, " bytes; at most ", kMaxHeaderBytes, " are allowed"));
  }
  if (static_cast<int64_t>(header_bytes) > file_bytes - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("its header claims ", header_bytes,
                                                   " bytes, but only ", file_bytes - kLengthBytes,
                                                   " follow its length"));
  }
  std::string header(header_bytes, '\0');
  RETURN_IF_ERROR(
      ReadBytes(fd_, kLengthBytes,
                absl::MakeSpan(reinterpret_cast<std::byte*>(header.data()), header.size())));
  data_begin_ = kLengthBytes + static_cast<int64_t>(header_bytes);
  ASSIGN_OR_RETURN(tensors_, ParseSafetensorsHeader(header, file_bytes - data_begin_));
  return absl::OkStatus();
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_begin_(other.data_begin_),
      tensors_(std::move(other.tensors_)) {}

SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(data_begin_, other.data_begin_);
  std::swap(tensors_, other.tensors_);
  return *this;
}

SafetensorsFile::~SafetensorsFile() {
  if (fd_ >= 0) close(fd_);
}

const TensorEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

absl::Status SafetensorsFile::Read(std::string_view name, int64_t offset_bytes,
                                   absl::Span<std::byte> out) const {
  const auto culprit = [&] { return absl::StrCat(path_.string(), ": tensor ", Quoted(name)); };
  const TensorEntry* entry = Find(name);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat(culprit(), " does not exist"));
  if (offset_bytes < 0 || offset_bytes > entry->size_bytes ||
      static_cast<int64_t>(out.size()) > entry->size_bytes - offset_bytes) {
    return absl::OutOfRangeError(absl::StrCat(culprit(), " has ", entry->size_bytes, " bytes, not ",
                                              out.size(), " from byte ", offset_bytes, " on"));
  }
  const absl::Status status = ReadBytes(fd_, data_begin_ + entry->offset_bytes + offset_bytes, out);
  return status.ok() ? status : Annotate(status, culprit());
}

}  // namespace deltaserve
