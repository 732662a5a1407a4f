#ifndef DELTASERVE_TESTS_SUPPORT_CERTIFICATES_H_
#define DELTASERVE_TESTS_SUPPORT_CERTIFICATES_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace deltaserve {

// A certificate authority of its own, made by the openssl program in `folder`, which outlives it.
class CertificateAuthority {
 public:
  CertificateAuthority(const std::filesystem::path& folder, const std::string& name)
      : folder_(folder), name_(name) {
    Run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=" +
        name_ + " -keyout " + Path(name_ + ".key") + " -out " + cert());
  }

  std::string cert() const { return Path(name_ + ".pem"); }

  // Writes NAME.pem and NAME.key, of loopback's addresses; gives the path without its ending.
  std::string Issue(const std::string& name) const {
    const std::string stem = Path(name);
    std::ofstream(stem + ".ext") << "subjectAltName=IP:127.0.0.1,DNS:localhost\n";
    Run("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name +
        " -keyout " + stem + ".key -out " + stem + ".csr");
    Run("x509 -req -days 2 -in " + stem + ".csr -CA " + cert() + " -CAkey " + Path(name_ + ".key") +
        " -CAcreateserial -extfile " + stem + ".ext -out " + stem + ".pem");
    return stem;
  }

 private:
  std::string Path(const std::string& name) const { return folder_ / name; }

  static void Run(const std::string& arguments) {
    if (std::system(("openssl " + arguments + " 2>/dev/null").c_str()) != 0) {
      throw std::runtime_error("openssl " + arguments);
    }
  }

  const std::filesystem::path folder_;
  const std::string name_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_CERTIFICATES_H_
