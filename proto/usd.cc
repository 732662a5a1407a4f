#include "proto/usd.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {

absl::StatusOr<int64_t> ParseUsd(absl::string_view text, int places) {
  constexpr int64_t kMost = 1'000'000;
  const auto is_digit = [](unsigned char c) { return absl::ascii_isdigit(c); };
  const size_t point = std::min(text.find('.'), text.size());
  const std::string whole(text.substr(0, point));
  std::string fraction(point < text.size() ? text.substr(point + 1) : "0");
  const bool decimal = !whole.empty() && whole.size() <= 7 && !fraction.empty() &&
                       fraction.size() <= static_cast<size_t>(places) &&
                       std::all_of(whole.begin(), whole.end(), is_digit) &&
                       std::all_of(fraction.begin(), fraction.end(), is_digit);
  fraction.resize(places, '0');
  int64_t most = kMost;
  for (int i = 0; i < places; ++i) most *= 10;
  int64_t units = 0;
  if (!decimal || !absl::SimpleAtoi(absl::StrCat(whole, fraction), &units) || units > most) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(text),
                                                   "\" is not a decimal of at most ", places,
                                                   " places in [0, ", kMost, "]"));
  }
  return units;
}

}  // namespace deltaserve
