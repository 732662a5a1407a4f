#include "server/tokenizer/tokenizer_json.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/tokenizer/byte_alphabet.h"
#include "server/tokenizer/json_reader.h"
#include "server/tokenizer/lines.h"
#include "server/tokenizer/merge_list.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

using nlohmann::json;

absl::Status At(const std::string& place, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(place, ": ", status.message()));
}

absl::StatusOr<int64_t> ReadId(const json& value) {
  const bool fits =
      value.is_number_integer() &&
      (!value.is_number_unsigned() ||
       value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("the id ", QuotedBytes(value.dump()), " is not an integer in range"));
  }
  return value.get<int64_t>();
}

// Added tokens are spelled as the text they stand for, not in the byte alphabet.
using AddedTokens = absl::flat_hash_map<std::string, int64_t>;

absl::StatusOr<AddedTokens> ReadAddedTokens(const JsonReader& root) {
  AddedTokens added;
  const json* list = root.Find("added_tokens");
  if (list == nullptr) return added;
  if (!list->is_array()) return absl::InvalidArgumentError("added_tokens is not an array");
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = absl::StrCat("added_tokens[", i, "]");
    JsonReader token((*list)[i], path);
    token.AllowKeys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    // How the token is found in text; special tokens are not looked for.
    for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) {
      token.ReadBool(key, false);
    }
    token.Require("special", true);
    const json* content = token.Get("content", json::value_t::string);
    if (!token.status().ok()) return token.status();
    const json* id = token.Find("id");
    if (id == nullptr) return absl::InvalidArgumentError(token.PathTo("id") + " is missing");
    const absl::StatusOr<int64_t> number = ReadId(*id);
    if (!number.ok()) return At(path, number.status());
    if (!added.emplace(content->get<std::string>(), *number).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " repeats ", QuotedBytes(content->get<std::string>())));
    }
  }
  return added;
}

// `vocab`: {token: id}. `place` names it in errors.
absl::StatusOr<Vocabulary> ReadVocabulary(const json& vocab, const AddedTokens& added,
                                          const std::string& place) {
  std::vector<NumberedToken> tokens;
  tokens.reserve(vocab.size() + added.size());
  for (const auto& [content, id] : added) tokens.push_back({id, {content, /*special=*/true}});
  for (const auto& [spelled, value] : vocab.items()) {
    const absl::StatusOr<int64_t> id = ReadId(value);
    if (!id.ok()) return At(absl::StrCat(place, ": token ", QuotedBytes(spelled)), id.status());
    if (const auto same = added.find(spelled); same != added.end()) {
      if (same->second == *id) continue;
      return absl::InvalidArgumentError(absl::StrCat(place, ": token ", QuotedBytes(spelled),
                                                     " has the id ", *id, ", but ", same->second,
                                                     " in added_tokens"));
    }
    absl::StatusOr<std::string> bytes = FromByteAlphabet(spelled);
    if (!bytes.ok()) return At(place, bytes.status());
    tokens.push_back({*id, {*std::move(bytes), /*special=*/false}});
  }
  absl::StatusOr<Vocabulary> vocabulary = MakeVocabulary(std::move(tokens));
  if (!vocabulary.ok()) return At(place, vocabulary.status());
  return vocabulary;
}

absl::StatusOr<std::vector<Merge>> ReadMerges(const json& list, const Vocabulary& vocabulary) {
  MergeList merges(vocabulary);
  for (size_t i = 0; i < list.size(); ++i) {
    const json& merge = list[i];
    absl::Status status = absl::InvalidArgumentError("neither \"a b\" nor [\"a\", \"b\"]");
    if (merge.is_string()) {
      status = merges.Add(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      status = merges.Add(merge[0].get_ref<const std::string&>(),
                          merge[1].get_ref<const std::string&>());
    }
    if (!status.ok()) return At(absl::StrCat("model.merges[", i, "]"), status);
  }
  return std::move(merges).Take();
}

// A part of the tokenizer of type ByteLevel. Its settings concern offsets or, in a decoder,
// nothing; those of the pre-tokenizer are checked on top.
JsonReader ReadByteLevel(const json& part, std::string path) {
  JsonReader reader(part, std::move(path));
  reader.Require("type", "ByteLevel");
  reader.AllowKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) {
    reader.ReadBool(key, false);
  }
  return reader;
}

// All but the model.
absl::Status CheckPipeline(JsonReader& root) {
  root.AllowKeys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                  "post_processor", "decoder", "model"});
  root.AllowNullOr("version", "1.0");
  for (const char* key : {"truncation", "padding", "normalizer"}) root.AllowNullOr(key, nullptr);
  const json* pre_tokenizer = root.Get("pre_tokenizer", json::value_t::object);
  const json* decoder = root.Get("decoder", json::value_t::object);
  if (!root.status().ok()) return root.status();

  JsonReader splitting = ReadByteLevel(*pre_tokenizer, "pre_tokenizer");
  splitting.Require("add_prefix_space", false);
  splitting.AllowNullOr("use_regex", true);
  if (!splitting.status().ok()) return splitting.status();
  if (const json* post_processor = root.Find("post_processor"); post_processor != nullptr) {
    const JsonReader reader = ReadByteLevel(*post_processor, "post_processor");
    if (!reader.status().ok()) return reader.status();
  }
  return ReadByteLevel(*decoder, "decoder").status();
}

}  // namespace

absl::StatusOr<Vocabulary> ParseTokenizerJson(std::string_view text) {
  const absl::StatusOr<json> file = ParseJson(text);
  if (!file.ok()) return file.status();
  JsonReader root(*file, "");
  if (absl::Status status = CheckPipeline(root); !status.ok()) return status;
  const absl::StatusOr<AddedTokens> added = ReadAddedTokens(root);
  if (!added.ok()) return added.status();
  const json* model_object = root.Get("model", json::value_t::object);
  if (model_object == nullptr) return root.status();

  JsonReader model(*model_object, "model");
  model.AllowNullOr("type", "BPE");  // GPT-2's own file has none
  model.AllowKeys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                   "merges"});
  for (const char* key : {"dropout", "unk_token"}) model.AllowNullOr(key, nullptr);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    model.AllowNullOr(key, "");
  }
  model.AllowNullOr("byte_fallback", false);
  model.ReadBool("fuse_unk", false);  // of no effect without unk_token
  const bool ignore_merges = model.ReadBool("ignore_merges", false);
  const json* vocab = model.Get("vocab", json::value_t::object);
  const json* merges = model.Get("merges", json::value_t::array);
  if (!model.status().ok()) return model.status();

  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(*vocab, *added, "model.vocab");
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<std::vector<Merge>> ranked = ReadMerges(*merges, *vocabulary);
  if (!ranked.ok()) return ranked.status();
  vocabulary->merges = *std::move(ranked);
  vocabulary->prefer_whole_pieces = ignore_merges;
  return vocabulary;
}

absl::StatusOr<Vocabulary> ParseVocabJson(std::string_view text) {
  const absl::StatusOr<json> vocab = ParseJson(text);
  if (!vocab.ok()) return vocab.status();
  if (JsonReader root(*vocab, ""); !root.status().ok()) return root.status();
  return ReadVocabulary(*vocab, /*added=*/{}, "vocabulary");
}

absl::StatusOr<std::vector<Merge>> ParseMerges(std::string_view text,
                                               const Vocabulary& vocabulary) {
  MergeList merges(vocabulary);
  const absl::Status status = ForEachLine(text, [&](int64_t number, std::string_view line) {
    if (number == 1 && line.starts_with("#version")) return absl::OkStatus();
    return merges.Add(line);
  });
  if (!status.ok()) return status;
  return std::move(merges).Take();
}

}  // namespace deltaserve
