#include "server/tokenizer/splitter.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

// White space is Unicode's property of that name; PCRE2's \s has U+180E on top of it.
constexpr std::string_view kPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+)"
    R"(|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+)";

// The pattern backs up over one character at most, so an honest match needs a handful of these.
constexpr uint32_t kMatchLimit = 1000;

template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};

std::string ErrorMessage(int code) {
  PCRE2_UCHAR message[256];
  if (pcre2_get_error_message(code, message, sizeof(message)) < 0) {
    return absl::StrCat("PCRE2 error ", code);
  }
  return reinterpret_cast<const char*>(message);
}

}  // namespace

struct Splitter::Program {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> limits;
};

void Splitter::Free::operator()(Program* program) const { delete program; }

absl::StatusOr<Splitter> Splitter::Create() {
  std::unique_ptr<Program, Free> program(new Program);
  int error = 0;
  PCRE2_SIZE offset = 0;
  program->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern.data()), kPattern.size(),
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset,
                                    nullptr));
  if (program->code == nullptr) {
    return absl::InternalError(
        absl::StrCat("the split pattern at byte ", offset, ": ", ErrorMessage(error)));
  }
  // Where the system forbids making code, the interpreter gives the same pieces, slower.
  (void)pcre2_jit_compile(program->code.get(), PCRE2_JIT_COMPLETE);
  program->limits.reset(pcre2_match_context_create(nullptr));
  if (program->limits == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(program->limits.get(), kMatchLimit);
  return Splitter(std::move(program));
}

absl::Status Splitter::Split(std::string_view text,
                             absl::FunctionRef<void(std::string_view)> visit) const {
  const std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> match(
      pcre2_match_data_create(/*ovecsize=*/1, nullptr));
  if (match == nullptr) throw std::bad_alloc();
  for (size_t begin = 0; begin < text.size();) {
    const int found =
        pcre2_match(program_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    begin, PCRE2_NO_UTF_CHECK, match.get(), program_->limits.get());
    if (found < 0) {
      return absl::InternalError(
          absl::StrCat("splitting fails at byte ", begin, ": ", ErrorMessage(found)));
    }
    const size_t end = pcre2_get_ovector_pointer(match.get())[1];
    visit(text.substr(begin, end - begin));
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace deltaserve
