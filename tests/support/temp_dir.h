// A folder of a test's own, gone with the object.
#ifndef DELTASERVE_TESTS_SUPPORT_TEMP_DIR_H_
#define DELTASERVE_TESTS_SUPPORT_TEMP_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace deltaserve {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "deltaserve-XXXXXX").string();
    path_ = mkdtemp(name.data()) != nullptr ? name : std::string();
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;  // empty if it could not be made
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_TEMP_DIR_H_
