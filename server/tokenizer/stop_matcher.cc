#include "server/tokenizer/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {

StopMatcher::Pattern::Pattern(std::string stop) : stop(std::move(stop)) {
  fallback.reserve(this->stop.size());
  fallback.push_back(0);
  for (size_t i = 1; i < this->stop.size(); ++i) {
    Advance(this->stop[i]);
    fallback.push_back(length);
  }
  length = 0;
}

bool StopMatcher::Pattern::Advance(char byte) {
  while (length > 0 && stop[length] != byte) length = fallback[length - 1];
  if (stop[length] == byte) ++length;
  return length == stop.size();
}

absl::StatusOr<StopMatcher> StopMatcher::Create(std::vector<std::string> stops, bool include_stop) {
  if (stops.size() > kMaxStops) {
    return absl::InvalidArgumentError(
        absl::StrCat(stops.size(), " stop strings; the limit is ", kMaxStops));
  }
  std::vector<Pattern> patterns;
  patterns.reserve(stops.size());
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("stop string ", i, " is empty"));
    }
    patterns.emplace_back(std::move(stops[i]));
  }
  return StopMatcher(std::move(patterns), include_stop);
}

StopMatcher::StopMatcher(std::vector<Pattern> patterns, bool include_stop)
    : patterns_(std::move(patterns)), include_stop_(include_stop) {}

std::string StopMatcher::Push(std::string_view piece) {
  if (matched_.has_value()) return "";
  for (size_t i = 0; i < piece.size(); ++i) {
    size_t longest = 0;
    for (size_t p = 0; p < patterns_.size(); ++p) {
      if (patterns_[p].Advance(piece[i]) && patterns_[p].length > longest) {
        longest = patterns_[p].length;
        matched_ = p;
      }
    }
    if (matched_.has_value()) {
      held_ += piece.substr(0, i + 1);
      if (!include_stop_) held_.resize(held_.size() - longest);
      return std::exchange(held_, {});
    }
  }
  held_ += piece;
  size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max(keep, pattern.length);
  std::string safe = held_.substr(0, held_.size() - keep);
  held_.erase(0, safe.size());
  return safe;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

}  // namespace deltaserve
