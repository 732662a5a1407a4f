#ifndef DELTASERVE_BENCH_TABLE_H_
#define DELTASERVE_BENCH_TABLE_H_

#include <string>
#include <utility>
#include <vector>

namespace deltaserve::bench {

// Aligned Markdown, so that a terminal and a page can both show it.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}

  // As many cells as the header.
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // The first column to the left, the others to the right.
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_TABLE_H_
