#!/usr/bin/env bash
# Builds a release and measures engine and server; bench/README.md explains the numbers.
#
#   bench/run.sh --shape small|medium [--residual additive,ddl_cc_ec,...|all] [--dtype bf16|fp32]
#                [--batch 1,8,32] [--context 128] [--repeats 9] [--threads N]
#                [--part engine|server|both] [--device NAMES] [--json [FILE]] [--markdown FILE]
#   bench/run.sh --profile ...    where the time of a step goes, op by op
#   bench/run.sh --cost ...       how well steps are predicted, and what telemetry costs
#
# The build is in build/release, or where DELTASERVE_BUILD_DIR says; the random checkpoints (1.5 GB
# for all kinds of small in bf16) stay in its bench/models. Progress goes to standard error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${DELTASERVE_BUILD_DIR:-$root/build/release}

{
  "$root/deploy/install_packages.sh"
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release
  cmake --build "$build" --target deltaserve deltaserve_bench
} >&2

commit=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
exec "$build/bench/deltaserve_bench" --models-dir "$build/bench/models" --commit "$commit" "$@"
