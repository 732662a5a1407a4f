#!/usr/bin/env bash
# Makes the bundle that run.sh takes to a machine with a GPU: programs, the shared libraries they need
# beside them, fixtures. CUDA's own libraries stay out: cuBLASLt alone has 500 MB, and the machine
# has its own.
#
#   tests/gpu/make_bundle.sh [FILE]     FILE: build/gpu_bundle.tar.gz
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bundle=$(realpath -m "${1:-$root/build/gpu_bundle.tar.gz}")
build=$root/build/gpu
max_bytes=$((60 << 20))
programs=(tests/gpu/gpu_op_test tests/gpu/gpu_model_test tests/gpu/gpu_step_bench
  server/deltaserve server/libdeltaserve_cuda.so client/cli/deltactl)

# RPATH, not RUNPATH: it also holds for what the libraries need in turn.
# shellcheck disable=SC2016  # the loader fills in ORIGIN
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDELTASERVE_CUDA=ON \
  -DCMAKE_BUILD_RPATH='$ORIGIN/lib' -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags \
  -DCMAKE_MODULE_LINKER_FLAGS=-Wl,--disable-new-dtags
cmake --build "$build" --parallel "$(nproc)" --target gpu_programs deltaserve deltactl

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir -p "$staging/lib"
for program in "${programs[@]}"; do
  install --strip "$build/$program" "$staging/"
  # The C library and the loader are the machine's.
  ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcublas|libcublasLt|libnvidia[^/]*)\.so' |
    while read -r library; do cp --dereference --update "$library" "$staging/lib/"; done
done
mkdir -p "$staging/models"
cp -r "$root/tests/golden" "$staging/golden"
cp -r "$root/models/ddl" "$staging/models/ddl"
cp "$root/tests/gpu/run.sh" "$root/tests/gpu/summary.py" "$root/tests/gpu/eager_bench.py" "$staging/"
git -C "$root" describe --always --dirty >"$staging/commit" 2>/dev/null || echo unknown >"$staging/commit"

mkdir -p "$(dirname "$bundle")"
tar -C "$staging" --gzip -cf "$bundle" .
bytes=$(stat -c %s "$bundle")
echo "$bundle: $((bytes >> 10)) KiB"
if [ "$bytes" -gt "$max_bytes" ]; then
  echo "make_bundle.sh: that is more than $((max_bytes >> 20)) MiB" >&2
  exit 1
fi
