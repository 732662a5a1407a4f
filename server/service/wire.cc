#include "server/service/wire.h"

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

double Seconds(SteadyNs ns) { return static_cast<double>(ns) * 1e-9; }
double Joules(int64_t microjoules) { return static_cast<double>(microjoules) * 1e-6; }

v1::PhaseUsage ToProto(const DeviceUse& use) {
  v1::PhaseUsage out;
  out.set_device_seconds(Seconds(use.device_ns));
  if (use.energy_uj) out.set_energy_joules(Joules(*use.energy_uj));
  if (use.cost) out.set_cost_usd(Usd(*use.cost));
  return out;
}

// The path of a text field that is not UTF-8; empty: there is none. `fields` are a message of
// `type` read without its type, so that every field of it is kept as it came.
std::string FindInvalidUtf8(const UnknownFieldSet& fields, const Descriptor& type) {
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& field = fields.field(i);
    const FieldDescriptor* known = type.FindFieldByNumber(field.number());
    if (known == nullptr || field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    const std::string& bytes = field.length_delimited();
    if (known->type() == FieldDescriptor::TYPE_STRING && ValidUtf8Prefix(bytes) != bytes.size()) {
      return known->name();
    }
    if (known->type() == FieldDescriptor::TYPE_MESSAGE) {
      google::protobuf::Empty nested;
      if (!nested.ParseFromString(bytes)) continue;
      const std::string path =
          FindInvalidUtf8(nested.GetReflection()->GetUnknownFields(nested), *known->message_type());
      if (!path.empty()) return absl::StrCat(known->name(), ".", path);
    }
  }
  return "";
}

bool Parse(grpc::ByteBuffer bytes, google::protobuf::Message* message) {
  google::protobuf::LogSilencer silencer;  // the caller is told instead
  grpc::ProtoBufferReader reader(&bytes);
  return reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
}

}  // namespace

absl::Status ParseRequest(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                          google::protobuf::Message* request) {
  if (static_cast<int64_t>(bytes.Length()) > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("request: ", bytes.Length(), " bytes; the limit is ", max_bytes));
  }
  // A message without fields has no bytes, and gRPC then has no buffer to read.
  if (bytes.Length() == 0 || Parse(bytes, request)) return absl::OkStatus();
  google::protobuf::Empty untyped;
  if (Parse(bytes, &untyped)) {
    const std::string path = FindInvalidUtf8(untyped.GetReflection()->GetUnknownFields(untyped),
                                             *request->GetDescriptor());
    if (!path.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": not UTF-8"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("request: not a ", request->GetDescriptor()->full_name()));
}

grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  // Fails only past 2 GiB, which no response reaches; the peer would then see an empty message.
  (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes,
                                                                                   &own_buffer);
  return bytes;
}

v1::Usage ToProto(const Usage& usage) {
  v1::Usage out;
  out.set_prompt_tokens(usage.prompt_tokens);
  out.set_cached_prompt_tokens(usage.cached_prompt_tokens);
  out.set_completion_tokens(usage.completion_tokens);
  out.set_scored_tokens(usage.scored_tokens);
  out.set_queue_seconds(Seconds(usage.queue_ns));
  out.set_time_to_first_token_seconds(Seconds(usage.time_to_first_token_ns));
  out.set_total_seconds(Seconds(usage.total_ns));
  const DeviceUse total = usage.TotalDeviceUse();
  out.set_device_seconds(Seconds(total.device_ns));
  if (total.energy_uj) out.set_energy_joules(Joules(*total.energy_uj));
  if (total.cost) out.set_cost_usd(Usd(*total.cost));
  if (usage.billed) out.set_billed_usd(Usd(*usage.billed));
  if (usage.durable) out.set_durable(*usage.durable);
  *out.mutable_prefill() = ToProto(usage.device[Phase::kPrefill]);
  *out.mutable_decode() = ToProto(usage.device[Phase::kDecode]);
  *out.mutable_score() = ToProto(usage.device[Phase::kScore]);
  return out;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::STOP;
    case FinishReason::kLength:
      return v1::LENGTH;
    case FinishReason::kCancelled:
      return v1::CANCELLED;
    case FinishReason::kDeadline:
      return v1::DEADLINE;
    case FinishReason::kBudget:
      return v1::BUDGET;
    case FinishReason::kError:
      return v1::ERROR;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Model ToProto(const ModelInfo& info, bool has_tokenizer) {
  v1::Model out;
  out.set_name(info.name);
  out.set_residual(info.residual);
  out.set_value_channels(info.value_channels);
  out.set_vocab_size(info.vocab_size);
  out.set_context_length(info.context_length);
  out.set_num_layers(info.num_layers);
  out.set_hidden_size(info.hidden_size);
  out.set_num_heads(info.num_heads);
  out.set_head_dim(info.head_dim);
  out.set_num_parameters(info.num_parameters);
  out.set_weight_bytes(info.weight_bytes);
  out.set_dtype(info.dtype);
  out.set_device(info.device);
  out.set_has_tokenizer(has_tokenizer);
  if (info.eos_token_id.has_value()) out.set_eos_token_id(*info.eos_token_id);
  out.set_max_sequence_tokens(info.max_sequence_tokens);
  if (info.usd_per_device_hour) out.set_usd_per_device_hour(*info.usd_per_device_hour);
  return out;
}

v1::TokenLogprob ToProto(int32_t id, float logprob, absl::Span<const Alternative> top,
                         const Tokenizer* tokenizer) {
  const auto piece = [tokenizer](int32_t id) {
    return std::string(tokenizer == nullptr ? "" : tokenizer->Piece(id));
  };
  v1::TokenLogprob out;
  out.set_id(id);
  out.set_piece(piece(id));
  out.set_logprob(logprob);
  for (const Alternative& alternative : top) {
    v1::Alternative* added = out.add_top();
    added->set_id(alternative.id);
    added->set_piece(piece(alternative.id));
    added->set_logprob(alternative.logprob);
  }
  return out;
}

v1::ScoredTokens ToProto(absl::Span<const int32_t> ids, const TokenScores& scores,
                         const Tokenizer* tokenizer) {
  v1::ScoredTokens out;
  double loglik = 0;
  for (size_t i = 0; i < scores.logprobs.size(); ++i) {
    const absl::Span<const Alternative> top =
        scores.top_k.empty() ? absl::Span<const Alternative>() : scores.top_k[i];
    *out.add_tokens() = ToProto(ids[i], scores.logprobs[i], top, tokenizer);
    loglik += scores.logprobs[i];
  }
  out.set_loglik(loglik);
  out.set_is_greedy(
      std::all_of(scores.is_greedy.begin(), scores.is_greedy.end(), [](bool b) { return b; }));
  return out;
}

v1::RewriteTrace ToProto(const RewriteTrace& trace) {
  v1::RewriteTrace out;
  out.set_num_layers(trace.num_layers);
  out.set_num_tokens(trace.num_tokens);
  out.set_value_channels(trace.value_channels);
  out.mutable_beta()->Add(trace.beta.begin(), trace.beta.end());
  out.mutable_proj()->Add(trace.proj.begin(), trace.proj.end());
  out.mutable_v()->Add(trace.v.begin(), trace.v.end());
  return out;
}

}  // namespace deltaserve
