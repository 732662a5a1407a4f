#!/usr/bin/env bash
# Installs what is missing from Debian 12's packages: what building Deltaserve needs and, with
# --tests, what `tests/run.sh` needs besides. As root or through sudo; where there is
# neither, it names the missing packages and stops. Does nothing when all are there.
set -euo pipefail

usage="usage: deploy/install_packages.sh [--tests]"

build_packages=(
  g++ cmake ninja-build ccache pkgconf python3
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libabsl-dev libcli11-dev libspdlog-dev nlohmann-json3-dev prometheus-cpp-dev
  libdnnl-dev libhwy-dev libpcre2-dev libsqlite3-dev libssl-dev
  libcairo2-dev fonts-dejavu-core  # plots, and what is written in them
  libbenchmark-dev libgmock-dev
  curl  # quickstart.sh reads the metrics with it
)
test_packages=(
  clang-14 clang-format-14 libclang-rt-14-dev libomp-14-dev llvm-14  # the fuzzers, the format
  python3-torch python3-venv                                        # the models' tests
  prometheus                                                        # the dashboards and rules
  buildah debootstrap iproute2                                      # the container image
  haproxy                                                           # several replicas behind it
  docker-compose                                                    # deploy/compose, without an engine
  openssl                                                           # certificates of the TLS tests
  shellcheck
)

packages=("${build_packages[@]}")
case "${1-}" in
  "") ;;
  --tests) packages+=("${test_packages[@]}") ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) echo "$usage" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  # shellcheck disable=SC2016  # dpkg-query fills in the field, not the shell
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=
  [ "$status" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
  echo "All ${#packages[@]} packages are installed."
  exit 0
fi
echo "Missing packages: ${missing[*]}"

stop() {
  echo "install_packages.sh: $1 Install these packages of Debian 12 and run this again:" >&2
  echo "  ${missing[*]}" >&2
  exit 1
}

command -v apt-get >/dev/null || stop "There is no apt-get here."
if [ "$(id -u)" -eq 0 ]; then
  as_root=(env)
elif command -v sudo >/dev/null; then
  as_root=(sudo env)
else
  stop "Neither root nor sudo."
fi
apt_get() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

apt_get update || stop "apt-get update failed."
apt_get install --yes --no-install-recommends "${missing[@]}" || stop "apt-get install failed."

# The tests start a Prometheus of their own; that of the package would run on for nobody.
case " ${missing[*]} " in
  *" prometheus "*)
    "${as_root[@]}" service prometheus stop || true
    "${as_root[@]}" update-rc.d prometheus disable || true
    ;;
esac
