#include "tests/kernels/token_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace deltaserve {
namespace {

int64_t PagesPerSequence(TestDevice& device, const Lengths& lengths) {
  const int64_t page_tokens = device.backend().page_tokens();
  return (*std::max_element(lengths.begin(), lengths.end()) + page_tokens - 1) / page_tokens;
}

// Reports the first difference only.
void ExpectSameBits(const TokenRows& actual, const TokenRows& expected, const std::string& name) {
  for (size_t s = 0; s < expected.sequences().size(); ++s) {
    const std::vector<float>& want = expected.sequences()[s];
    const std::vector<float>& got = actual.sequences()[s];
    ASSERT_EQ(got.size(), want.size()) << name;
    for (size_t i = 0; i < want.size(); ++i) {
      if (std::bit_cast<uint32_t>(want[i]) == std::bit_cast<uint32_t>(got[i])) continue;
      ADD_FAILURE() << name << " of sequence " << s << ", token " << i / expected.width()
                    << ", entry " << i % expected.width() << ": " << got[i] << " and " << want[i]
                    << " are not the same bits";
      return;
    }
  }
}

}  // namespace

Schedule OneStep(const Lengths& lengths) {
  StepRuns step;
  for (size_t s = 0; s < lengths.size(); ++s) {
    step.push_back({static_cast<int64_t>(s), 0, lengths[s]});
  }
  return {step};
}

Schedule OneByOne(const Lengths& lengths) {
  const StepRuns whole = OneStep(lengths)[0];
  Schedule schedule;
  for (const TokenRun& run : whole) schedule.push_back({run});
  return schedule;
}

Schedule TokenByToken(const Lengths& lengths) {
  const StepRuns whole = OneStep(lengths)[0];
  Schedule schedule;
  for (const TokenRun& run : whole) {
    for (int64_t t = 0; t < run.count; ++t) schedule.push_back({{run.sequence, t, 1}});
  }
  return schedule;
}

Schedule RandomChunks(const Lengths& lengths, Random& random) {
  const int64_t num_sequences = static_cast<int64_t>(lengths.size());
  Lengths done(num_sequences, 0);
  Schedule schedule;
  while (done != lengths) {
    StepRuns step;
    const int64_t first = random.Int(0, num_sequences - 1);
    for (int64_t n = 0; n < num_sequences; ++n) {
      const int64_t s = (first + n) % num_sequences;
      const int64_t left = lengths[s] - done[s];
      if (left == 0 || random.Chance(0.3)) continue;
      const int64_t count = random.Chance(0.4) ? 1 : random.Int(1, left);
      step.push_back({s, done[s], count});
      done[s] += count;
    }
    if (!step.empty()) schedule.push_back(step);
  }
  return schedule;
}

int64_t NumTokens(const StepRuns& step) {
  int64_t count = 0;
  for (const TokenRun& run : step) count += run.count;
  return count;
}

std::string ToString(const Schedule& schedule) {
  std::string text;
  for (const StepRuns& step : schedule) {
    for (const TokenRun& run : step) {
      absl::StrAppend(&text, run.sequence, ":", run.begin, "+", run.count, " ");
    }
    absl::StrAppend(&text, "| ");
  }
  return text;
}

int64_t NumPages(TestDevice& device, const Lengths& lengths) {
  return 1 + PagesPerSequence(device, lengths) * static_cast<int64_t>(lengths.size());
}

int32_t SlotOf(int64_t sequence, const Lengths& lengths) {
  return static_cast<int32_t>(lengths.size()) - static_cast<int32_t>(sequence);
}

BatchView UploadBatch(TestDevice& device, const StepRuns& step, const Lengths& lengths) {
  const int64_t page_tokens = device.backend().page_tokens();
  const int64_t pages_per_sequence = PagesPerSequence(device, lengths);
  std::vector<int32_t> pages(NumPages(device, lengths) - 1);
  std::iota(pages.begin(), pages.end(), 1);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(7));

  std::vector<int32_t> positions, sequence_of, offsets = {0}, kv_len, table, slots;
  for (const TokenRun& run : step) {
    const int64_t end = run.begin + run.count;
    for (int64_t position = run.begin; position < end; ++position) {
      positions.push_back(static_cast<int32_t>(position));
      sequence_of.push_back(static_cast<int32_t>(kv_len.size()));
    }
    for (int64_t page = 0; page < pages_per_sequence; ++page) {
      const bool needed = page * page_tokens < end;
      table.push_back(needed ? pages[run.sequence * pages_per_sequence + page] : 0);
    }
    offsets.push_back(static_cast<int32_t>(positions.size()));
    kv_len.push_back(static_cast<int32_t>(end));
    slots.push_back(SlotOf(run.sequence, lengths));
  }
  const int64_t num_runs = static_cast<int64_t>(step.size());
  return {.num_tokens = NumTokens(step),
          .num_sequences = num_runs,
          .positions = device.I32({NumTokens(step)}, positions),
          .sequence_of = device.I32({NumTokens(step)}, sequence_of),
          .query_offsets = device.I32({num_runs + 1}, offsets),
          .kv_len = device.I32({num_runs}, kv_len),
          .page_table = device.I32({num_runs, pages_per_sequence}, table),
          .state_slot = device.I32({num_runs}, slots)};
}

TokenRows::TokenRows(const Lengths& lengths, int64_t width) : width_(width) {
  for (int64_t length : lengths) sequences_.emplace_back(length * width);
}

TokenRows TokenRows::Normals(const Lengths& lengths, int64_t width, Random& random, float scale) {
  TokenRows rows(lengths, width);
  for (std::vector<float>& sequence : rows.sequences_) {
    sequence = random.Normals(static_cast<int64_t>(sequence.size()), scale);
  }
  return rows;
}

std::vector<float> TokenRows::Gather(const StepRuns& step) const {
  std::vector<float> values;
  for (const TokenRun& run : step) {
    const auto begin = sequences_[run.sequence].begin() + run.begin * width_;
    values.insert(values.end(), begin, begin + run.count * width_);
  }
  return values;
}

void TokenRows::Scatter(const StepRuns& step, const std::vector<float>& values) {
  auto from = values.begin();
  for (const TokenRun& run : step) {
    std::copy(from, from + run.count * width_,
              sequences_[run.sequence].begin() + run.begin * width_);
    from += run.count * width_;
  }
}

void ExpectSameBits(const OpResults& actual, const OpResults& expected) {
  for (const auto& [name, rows] : expected) ExpectSameBits(actual.at(name), rows, name);
}

void ExpectNear(const TokenRows& actual, const TokenRows& expected, Tolerance tolerance,
                const std::string& name) {
  for (size_t s = 0; s < expected.sequences().size(); ++s) {
    const std::vector<float>& want = expected.sequences()[s];
    const std::vector<float>& got = actual.sequences()[s];
    ASSERT_EQ(got.size(), want.size()) << name;
    for (size_t i = 0; i < want.size(); ++i) {
      const float allowed = tolerance.absolute + tolerance.relative * std::abs(want[i]);
      if (std::abs(got[i] - want[i]) <= allowed) continue;
      if (std::isnan(got[i]) && std::isnan(want[i])) continue;
      ADD_FAILURE() << name << " of sequence " << s << ", token " << i / expected.width()
                    << ", entry " << i % expected.width() << " is " << got[i] << ", expected "
                    << want[i] << " within " << allowed;
      return;
    }
  }
}

void ExpectRowsIndependent(const Lengths& lengths,
                           const std::function<OpResults(const Schedule&)>& run_op) {
  const OpResults expected = run_op(OneStep(lengths));
  Random random(1);
  for (const Schedule& schedule :
       {OneByOne(lengths), TokenByToken(lengths), RandomChunks(lengths, random),
        RandomChunks(lengths, random), RandomChunks(lengths, random)}) {
    SCOPED_TRACE(ToString(schedule).substr(0, 400));
    ExpectSameBits(run_op(schedule), expected);
  }
}

}  // namespace deltaserve
