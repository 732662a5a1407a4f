#include "server/model/checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>
#include <type_traits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/model/assign_or_return.h"
#include "server/model/strict_json.h"
#include "server/model/tensor_specs.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kHeadName = "lm_head.weight";
constexpr uintmax_t kMaxConfigBytes = uintmax_t{1} << 20;
constexpr uintmax_t kMaxIndexBytes = uintmax_t{64} << 20;
constexpr size_t kChunkElements = size_t{32} << 10;  // stays in the processor's cache

absl::StatusOr<std::string> ReadTextFile(const fs::path& path, uintmax_t max_bytes) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": does not exist"));
  }
  if (!fs::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": is not a regular file"));
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": is larger than ", max_bytes, " bytes"));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::DataLossError(absl::StrCat(path.string(), ": cannot be read"));
  }
  return text;
}

absl::Status Annotate(const absl::Status& status, const fs::path& path) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
}

// A shard lies beside its index; a name that leads elsewhere is refused.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

// At most five of them, and how many more.
std::string Listing(const std::vector<std::string>& items) {
  constexpr size_t kShown = 5;
  const size_t shown = std::min(items.size(), kShown);
  std::string text = absl::StrJoin(items.begin(), items.begin() + shown, ", ");
  if (items.size() > shown) absl::StrAppend(&text, " and ", items.size() - shown, " more");
  return text;
}

// How an element is stored. A bf16 element of the output is its bits, too.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

float ToFloat(F16 value) { return FromFloat16(value.bits); }
float ToFloat(BF16 value) { return FromBFloat16(value.bits); }

void Convert(float value, float& out) { out = value; }
void Convert(float value, uint16_t& out) { out = ToBFloat16(value); }
template <typename Stored, typename Out>
void Convert(Stored value, Out& out) {
  Convert(ToFloat(value), out);
}
void Convert(BF16 value, uint16_t& out) { out = value.bits; }

// The exponent of infinities and NaNs is all ones.
bool IsFinite(float value) { return (std::bit_cast<uint32_t>(value) & 0x7f800000) != 0x7f800000; }
bool IsFinite(uint16_t bf16) { return (bf16 & 0x7f80) != 0x7f80; }

// Whether everything converted is finite. Kept free of branches, so that it vectorises.
template <typename Stored, typename Out>
bool ConvertAll(const std::byte* stored, absl::Span<Out> out) {
  const Stored* in = reinterpret_cast<const Stored*>(stored);
  bool finite = true;
  for (size_t i = 0; i < out.size(); ++i) {
    Convert(in[i], out[i]);
    finite &= IsFinite(out[i]);
  }
  return finite;
}

template <typename Out>
bool ConvertAll(DType stored, const std::byte* in, absl::Span<Out> out) {
  if (stored == DType::kF32) return ConvertAll<float>(in, out);
  if (stored == DType::kF16) return ConvertAll<F16>(in, out);
  return ConvertAll<BF16>(in, out);
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const fs::path& dir) {
  const fs::path config_path = dir / "config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(config_path, kMaxConfigBytes));

  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  RETURN_IF_ERROR(checkpoint.OpenFiles());
  const TensorEvidence evidence = checkpoint.Evidence();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text, &evidence);
  if (!config.ok()) return Annotate(config.status(), config_path);
  checkpoint.config_ = *config;
  RETURN_IF_ERROR(checkpoint.CheckTensors());
  RETURN_IF_ERROR(checkpoint.CheckTiedHead());
  return checkpoint;
}

absl::Status Checkpoint::OpenFiles() {
  const fs::path single = dir_ / "model.safetensors";
  const fs::path index = dir_ / "model.safetensors.index.json";
  std::error_code error;
  if (!fs::exists(index, error)) return AddFile(single);
  RETURN_IF_ERROR(OpenShards(index));
  const bool single_is_shard =
      absl::c_any_of(files_, [&](const SafetensorsFile& file) { return file.path() == single; });
  if (fs::exists(single, error) && !single_is_shard) {
    return absl::InvalidArgumentError(absl::StrCat(
        index.string(), ": names other shards, but there is also a model.safetensors; remove one"));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenShards(const fs::path& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path, kMaxIndexBytes));
  const absl::StatusOr<json> index = ParseStrictJson(text);
  if (!index.ok()) return Annotate(index.status(), index_path);
  const auto refuse = [&](const std::string& message) {
    return Annotate(absl::InvalidArgumentError(message), index_path);
  };
  if (!index->is_object() || !index->contains("weight_map") ||
      !index->at("weight_map").is_object()) {
    return refuse("has no \"weight_map\" object");
  }
  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
  for (const auto& item : index->at("weight_map").items()) {
    if (!item.value().is_string() || !IsPlainFileName(item.value().get<std::string>())) {
      return refuse(absl::StrCat("tensor ", Quoted(item.key()), " is mapped to ",
                                 Show(item.value()), ", which is not a plain file name"));
    }
    shard_of.emplace(item.key(), item.value().get<std::string>());
    shards.insert(item.value().get<std::string>());
  }
  for (const std::string& shard : shards) {
    RETURN_IF_ERROR(AddFile(dir_ / shard));
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = file_of_.find(tensor);
    if (found == file_of_.end() || files_[found->second].path() != dir_ / shard) {
      return refuse(absl::StrCat("tensor ", Quoted(tensor), " is not in ", Quoted(shard)));
    }
  }
  for (const auto& [tensor, file] : file_of_) {
    if (!shard_of.contains(tensor)) {
      return refuse(absl::StrCat("tensor ", Quoted(tensor), " of ",
                                 Quoted(files_[file].path().filename().string()),
                                 " is missing from the weight_map"));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::AddFile(const fs::path& path) {
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  for (const auto& [name, entry] : file.tensors()) {
    const auto [other, added] = file_of_.emplace(name, files_.size());
    if (!added) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": tensor ", Quoted(name), " is in ",
                       Quoted(files_[other->second].path().filename().string()), " too"));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

TensorEvidence Checkpoint::Evidence() const {
  TensorEvidence evidence;
  evidence.has_ddl_attn = absl::c_any_of(
      file_of_, [](const auto& entry) { return absl::StrContains(entry.first, ".ddl_attn."); });
  evidence.has_readout_shortconv = Find("readout.shortconv.weight") != nullptr;
  evidence.has_readout_weight = Find("readout.weight") != nullptr;
  evidence.has_embed_conv = Find("input_embed.conv.weight") != nullptr;
  const TensorEntry* read = Find("readout.read");
  if (read != nullptr) evidence.readout_read_length = read->shape.NumElements();
  return evidence;
}

absl::Status Checkpoint::CheckTensors() {
  std::vector<std::string> missing, misshapen, unknown;
  std::set<std::string, std::less<>> known = {std::string(kHeadName)};
  for (const TensorSpec& tensor : ExpectedTensors(config_)) {
    num_parameters_ += tensor.shape.NumElements();
    const TensorEntry* entry = Find(tensor.name);
    if (entry == nullptr) {
      missing.push_back(tensor.name);
    } else if (entry->shape != tensor.shape) {
      misshapen.push_back(absl::StrCat(tensor.name, " is ", entry->shape.ToString(), ", not ",
                                       tensor.shape.ToString()));
    }
    known.insert(tensor.name);
  }
  for (const auto& [name, file] : file_of_) {
    if (!known.contains(name)) unknown.push_back(Quoted(name));
  }
  std::vector<std::string> faults;
  if (!missing.empty()) faults.push_back(absl::StrCat("missing tensors: ", Listing(missing)));
  if (!misshapen.empty()) faults.push_back(absl::StrCat("wrong shapes: ", Listing(misshapen)));
  if (!unknown.empty()) faults.push_back(absl::StrCat("unknown tensors: ", Listing(unknown)));
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(dir_.string(), ": for a ", std::string(Name(config_.kind)),
                   " model of this configuration: ", absl::StrJoin(faults, "; ")));
}

absl::Status Checkpoint::CheckTiedHead() const {
  const TensorEntry* head = Find(kHeadName);
  if (head == nullptr) return absl::OkStatus();
  const TensorEntry* embedding = Find(kEmbeddingName);
  const SafetensorsFile& file = files_[file_of_.find(kHeadName)->second];
  const SafetensorsFile& embedding_file = files_[file_of_.find(kEmbeddingName)->second];
  const absl::Status different = Annotate(
      absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(kHeadName), " differs from ",
                                              Quoted(kEmbeddingName), ": they must be tied")),
      file.path());
  if (head->shape != embedding->shape || head->dtype != embedding->dtype) return different;
  std::vector<std::byte> a(kChunkElements), b(kChunkElements);
  for (int64_t begin = 0; begin < head->size_bytes; begin += kChunkElements) {
    const size_t count = std::min<int64_t>(kChunkElements, head->size_bytes - begin);
    absl::Status status = file.Read(kHeadName, begin, absl::MakeSpan(a.data(), count));
    status.Update(embedding_file.Read(kEmbeddingName, begin, absl::MakeSpan(b.data(), count)));
    if (!status.ok()) return status;
    if (std::memcmp(a.data(), b.data(), count) != 0) return different;
  }
  return absl::OkStatus();
}

const TensorEntry* Checkpoint::Find(std::string_view name) const {
  const auto found = file_of_.find(name);
  return found == file_of_.end() ? nullptr : files_[found->second].Find(name);
}

DType Checkpoint::stored_dtype() const { return Find(kEmbeddingName)->dtype; }

DType Checkpoint::default_dtype() const {
  return stored_dtype() == DType::kBF16 ? DType::kBF16 : DType::kF32;
}

template <typename Out>
absl::Status Checkpoint::Read(std::string_view name, absl::Span<Out> out) const {
  const TensorEntry* entry = Find(name);
  if (entry == nullptr) {
    return absl::NotFoundError(
        absl::StrCat(dir_.string(), ": tensor ", Quoted(name), " does not exist"));
  }
  const SafetensorsFile& file = files_[file_of_.find(name)->second];
  if (static_cast<int64_t>(out.size()) != entry->shape.NumElements()) {
    return absl::InternalError(absl::StrCat("tensor ", Quoted(name), " ", entry->shape.ToString(),
                                            " read into ", out.size(), " elements"));
  }
  const int64_t element_bytes = SizeBytes(entry->dtype);
  std::vector<std::byte> chunk(std::min(kChunkElements, out.size()) * element_bytes);
  for (size_t begin = 0; begin < out.size(); begin += kChunkElements) {
    const absl::Span<Out> part = out.subspan(begin, kChunkElements);
    absl::Status status = file.Read(name, static_cast<int64_t>(begin) * element_bytes,
                                    absl::MakeSpan(chunk.data(), part.size() * element_bytes));
    if (!status.ok()) return status;
    if (!ConvertAll(entry->dtype, chunk.data(), part)) {
      const auto bad = absl::c_find_if(part, [](Out value) { return !IsFinite(value); });
      const int64_t index = static_cast<int64_t>(begin) + (bad - part.begin());
      const DType wanted = std::is_same_v<Out, float> ? DType::kF32 : DType::kBF16;
      return absl::InvalidArgumentError(absl::StrCat(
          file.path().string(), ": tensor ", Quoted(name), " ", entry->shape.ToString(),
          ": element ", index, " is no finite number in ", std::string(Name(wanted))));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::ReadF32(std::string_view name, absl::Span<float> out) const {
  return Read(name, out);
}

absl::Status Checkpoint::ReadBF16(std::string_view name, absl::Span<uint16_t> out) const {
  return Read(name, out);
}

}  // namespace deltaserve
