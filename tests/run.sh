#!/usr/bin/env bash
# Installs, builds and tests. --full adds what is slow: the sanitizers, the fuzzers, the format, some
# tests. A second run only does what changed since the first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: tests/run.sh [--full]"
full=false
case "${1-}" in
  "") ;;
  --full) full=true ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) echo "$usage" >&2; exit 2 ;;
esac

jobs=$(nproc)
results=build/results  # one JUnit file for each stage that counts its tests
rm -rf "$results"
mkdir -p "$results"

# --- Stages, and the table of them at the end.

table=()
passed=0
failed=0

# The attribute "$2" (tests, failures, errors) of a JUnit file's test suite; 0 where it is absent.
count_in() {
  local count
  count=$(tr '\n' ' ' <"$1" | sed -n "s/^.*<testsuite [^>]*\b$2=\"\([0-9]*\)\".*$/\1/p")
  echo "${count:-0}"
}

# A stage without a JUnit file is one test.
record() {
  local name=$1 status=$2 seconds=$3 outcome=ok tests=1 bad=0
  local junit=$results/$name.xml
  if [ -f "$junit" ]; then
    tests=$(count_in "$junit" tests)
    bad=$(($(count_in "$junit" failures) + $(count_in "$junit" errors)))
  fi
  if [ "$status" -ne 0 ]; then
    outcome=FAILED
    [ "$bad" -gt 0 ] || bad=1
    [ "$tests" -ge "$bad" ] || tests=$bad
  fi
  passed=$((passed + tests - bad))
  failed=$((failed + bad))
  table+=("$(printf '%-10s %-7s %3d:%02d  %4d passed %4d failed' "$name" "$outcome" \
    $((seconds / 60)) $((seconds % 60)) $((tests - bad)) "$bad")")
}

# stage NAME COMMAND...: runs it to its first error, and goes on with the next stage in any case.
stage() {
  local name=$1 start=$SECONDS status
  shift
  printf '\n=== %s\n' "$name"
  set +e
  (set -e; "$@")
  status=$?
  set -e
  [ "$status" -eq 0 ] || echo "=== stage $name FAILED" >&2
  record "$name" "$status" $((SECONDS - start))
}

finish() {
  printf '\n'
  printf '%s\n' "${table[@]}"
  printf '\n%d%% tests passed, %d tests failed out of %d\n' \
    $((100 * passed / (passed + failed))) "$failed" $((passed + failed))
  printf 'Total time: %d:%02d\n' $((SECONDS / 60)) $((SECONDS % 60))
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}

# Without it, no later stage has anything to run.
needed_stage() {
  stage "$@"
  [ "$failed" -eq 0 ] || finish
}

# --- What the stages do.

# build PRESET [TARGET...]: all, where none is named.
build() {
  local preset=$1
  shift
  cmake --preset "$preset"
  cmake --build --preset "$preset" --parallel "$jobs" --target "${@:-all}"
}

# run_tests STAGE PRESET SELECTION...: the selection is ctest's.
run_tests() {
  local name=$1 preset=$2
  shift 2
  ctest --test-dir "build/$preset" --parallel "$jobs" --output-on-failure --no-tests=error \
    --output-junit "$PWD/$results/$name.xml" "$@"
}

test_asan() {
  build asan
  run_tests asan asan --label-exclude '^(architecture|slow)$'
}

# What threads share. libgomp is not instrumented, so there is one thread where it is in use.
test_tsan() {
  local rooms=(billing client engine service telemetry integration promises)
  local label_regex
  printf -v label_regex '|%s' "${rooms[@]}"
  build tsan "${rooms[@]/#/tests_}"
  OMP_NUM_THREADS=1 run_tests tsan tsan --label-regex "^(${label_regex:1})$" \
    --label-exclude '^slow$'
}

test_fuzzers() {
  build fuzz tests_fuzz
  run_tests fuzz fuzz --label-regex '^fuzz$'
}

check_format() {
  find auth proto kernels server client tests bench -regex '.*\.\(h\|cc\|cu\|cuh\)' -print0 |
    xargs -0 clang-format-14 --dry-run -Werror
  shellcheck --severity=warning .ci/run ./*/*.sh tests/container/*.sh
}

# venv FOLDER REQUIREMENTS [OPTION...]: a virtual environment of Debian's interpreter with these
# requirements, made anew when they change. The options are venv's.
venv() {
  local folder=$1 requirements=$2
  shift 2
  cmp -s "$requirements" "$folder/requirements.txt" && return
  /usr/bin/python3 -m venv --clear "$@" "$folder"
  "$folder/bin/pip" install --disable-pip-version-check --requirement "$requirements"
  cp "$requirements" "$folder/requirements.txt"
}

# PyTorch is a package of Debian's.
test_models() {
  venv build/venv models/requirements.txt --system-site-packages
  build/venv/bin/python -m pytest -p no:cacheprovider --junitxml="$results/models.xml" tests/models
}

# The client as pip installs it, against the server of the release build.
test_client() {
  local name=$1 folder=$2
  local python=build/venv-$name/bin/python
  venv "build/venv-$name" "$folder/requirements.txt"
  "$python" -m pip install --disable-pip-version-check --no-index --no-build-isolation \
    --force-reinstall --no-deps ./client/python
  "$python" -m pip check
  "$python" -m pytest -p no:cacheprovider --junitxml="$results/$name.xml" "$folder"
}

# The dashboards' JSON against Grafana's own models of it.
test_dashboards() {
  venv build/venv-grafana tests/monitoring/requirements.txt
  build/venv-grafana/bin/python -B tests/monitoring/grafana_schema_test.py
}

# The manifests, against schemas and the server.
test_deploy() {
  venv build/venv-deploy tests/deploy/requirements.txt
  build/venv-deploy/bin/python -m pytest -p no:cacheprovider --junitxml="$results/deploy.xml" \
    tests/deploy --build build/release
}

# The images of the release build, built and run for real; that of CUDA where the build has it. Root
# alone can unpack and enter them.
test_container() {
  venv build/venv-deploy tests/deploy/requirements.txt
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  local targets=cpu tests=(tests/container/cpu_image_test.py)
  if [ -e build/release/server/libdeltaserve_cuda.so ]; then
    targets+=,cuda
    tests+=(tests/container/cuda_image_test.py)
  fi
  "${as_root[@]}" build/venv-deploy/bin/python -B -m pytest -p no:cacheprovider \
    --junitxml="$results/container.xml" "${tests[@]}" --build build/release --targets "$targets"
}

# --- The run.

needed_stage packages deploy/install_packages.sh --tests
needed_stage build build release
if ! $full; then
  stage tests run_tests tests release --label-exclude '^slow$'
  stage models test_models
  stage python test_client python tests/python
  stage dashboards test_dashboards
  finish
fi

stage tests run_tests tests release
stage format check_format
stage models test_models
stage python test_client python tests/python
stage lm_eval test_client lm_eval tests/python_lm_eval  # 0.9 GB of packages
stage dashboards test_dashboards
stage deploy test_deploy
stage container test_container
stage asan test_asan
stage tsan test_tsan
stage fuzz test_fuzzers
finish
