// Writes docs/reference.md, of the protos' descriptors.
#include <fstream>
#include <iostream>

#include "proto/reference.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: make_reference DESCRIPTORS FILE\n";
    return 2;
  }
  const auto page = deltaserve::ReferencePage(argv[1], deltaserve::ReferenceFiles());
  if (!page.ok()) {
    std::cerr << "make_reference: " << page.status().message() << '\n';
    return 1;
  }
  std::ofstream file(argv[2]);
  file << *page;
  return file.flush() ? 0 : 1;
}
