#!/usr/bin/env bash
# Everything that needs a GPU, unattended, in under 9 minutes: the op tests, the golden fixtures and
# the models' invariants on the device, the op tests once more under compute-sanitizer, the speed of
# steps, and a server under load. Leaves one JSON file and one readable table.
#
#   tests/gpu/run.sh [--bundle FILE] [--out FOLDER]
#
#   FILE    what tests/gpu/make_bundle.sh made; default build/gpu_bundle.tar.gz. From within an
#           unpacked bundle, where this script lies too, none is needed.
#   FOLDER  gets gpu.json, gpu.md and logs; default build/gpu_results
#
# Needs: Linux on x86-64 with glibc 2.36 or later; one NVIDIA GPU of compute capability 8.0 or later
# with 20 GB of memory (80 GB for medium at its largest); a driver for CUDA 13; libcublasLt.so.13, in
# a CUDA toolkit, in the loader's path, or in a Python package; bash, tar, gzip, python3; 8 GB of disk.
# No network and no compiler. Used where they are there, and named in the results where not:
# compute-sanitizer, and a python3 with PyTorch, which then times the eager implementation of
# models/ddl.
#
# Exit status: 0 if every stage passed, 1 if one failed, 2: usage, or no bundle.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bundle=$root/build/gpu_bundle.tar.gz
out=build/gpu_results
usage="usage: tests/gpu/run.sh [--bundle FILE] [--out FOLDER]"
while [ $# -gt 0 ]; do
  case "$1" in
    --bundle) bundle=${2?$usage}; shift 2 ;;
    --out) out=${2?$usage}; shift 2 ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -x "$here/gpu_op_test" ]; then
  programs=$here
elif [ -f "$bundle" ]; then
  programs=$work/bundle
  mkdir "$programs"
  tar -C "$programs" -xf "$bundle" || exit 2
else
  echo "run.sh: no bundle at $bundle; tests/gpu/make_bundle.sh makes one" >&2
  exit 2
fi
export DELTASERVE_GOLDEN_DIR=$programs/golden

# cuBLASLt, wherever it is.
for folder in /usr/local/cuda/lib64 /usr/local/cuda/lib /usr/local/cuda-13*/lib64 \
  "$(python3 -c 'import nvidia.cublas, os; print(os.path.join(list(nvidia.cublas.__path__)[0], "lib"))' 2>/dev/null)" \
  "$(python3 -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null)"; do
  if [ -n "$folder" ] && [ -e "$folder/libcublasLt.so.13" ]; then
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    break
  fi
done

# --- Stages. Each leaves a line in stages.tsv: name, outcome, seconds, what it says.

: >"$out/stages.tsv"
failed=0
note() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$out/stages.tsv"; }

# stage NAME SECONDS COMMAND...: its output goes to NAME.log.
stage() {
  local name=$1 limit=$2 start=$SECONDS status outcome=passed
  shift 2
  echo "=== $name"
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    outcome="over $limit s"
  elif [ "$status" -ne 0 ]; then
    outcome=FAILED
  fi
  [ "$status" -eq 0 ] || failed=1
  tail -n 3 "$out/$name.log"
  note "$name" "$outcome" $((SECONDS - start)) "$(tail -n 1 "$out/$name.log" | tr '\t' ' ')"
}

# Served fast, a row's bits depend on how many rows there are (kernels/cuda/cuda_backend.h).
not_fast='*LinearRowsAreIndependentOfTheirNumber/*_fast:*AttentionOfAnyChunkingIsTheSameBits/bf16_fast'

op_tests() { "$programs/gpu_op_test" --gtest_brief=1 "--gtest_filter=-$not_fast"; }
model_tests() { "$programs/gpu_model_test" --gtest_brief=1; }
sanitizer() {
  compute-sanitizer --tool memcheck --error-exitcode 9 "$programs/gpu_op_test" --gtest_brief=1 \
    "--gtest_filter=*/bf16:*/bf16_fast:Cuda*-$not_fast:*Draws*:*Truncations*:*LinearRowsAre*"
}
step_bench() {
  "$programs/gpu_step_bench" --models-dir "$work/models" --json "$out/steps.json" \
    --commit "$(cat "$programs/commit")" "$@"
}
eager() { python3 "$programs/eager_bench.py" "$work/models" "$out/eager.json"; }

# Thirty-two streams at once, of two hundred and fifty-six tokens each. What is left running when time
# runs out, timeout ends with the rest of its group.
server_load() {
  local model=$work/models/small-ddl_cc_ec-bf16 address=127.0.0.1:50971 n start server status
  "$programs/deltaserve" --device cuda:0 --model "small=$model" --listen "$address" \
    >"$out/server.log" 2>&1 &
  server=$!
  for n in $(seq 100); do
    grep -q '^listening' "$out/server.log" && break
    kill -0 "$server" || return 1
    sleep 0.2
  done
  generate() {
    "$programs/deltactl" --address "$address" --json generate --prompt-ids "$((1 + $1)),7,11,$1" \
      --max-tokens 256 --seed "$1" --ignore-eos
  }
  generate 0 >"$work/alone.json" || return 1
  start=$(date +%s%N)
  local pids=()
  for n in $(seq 0 31); do
    generate "$n" >"$work/stream_$n.json" &
    pids+=($!)
  done
  for n in "${pids[@]}"; do wait "$n" || return 1; done
  python3 - "$work" "$start" <<'PYTHON'
import json, pathlib, sys, time
seconds = time.time() - int(sys.argv[2]) * 1e-9
work = pathlib.Path(sys.argv[1])
for n in range(32):
    json.loads((work / f"stream_{n}.json").read_text())
print(f"32 streams of 256 tokens: {32 * 256 / seconds:.0f} tokens/s, clients and their start included")
PYTHON
  status=$?
  kill -TERM "$server"
  wait "$server" || status=1
  return "$status"
}
export -f op_tests model_tests sanitizer step_bench eager server_load
export programs out work not_fast

# A function as a command that `timeout` can stop.
run() {
  local name=$1 limit=$2
  shift 2
  stage "$name" "$limit" bash -c '"$@"' _ "$@"
}

begin=$SECONDS
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader \
  >"$out/device.txt" 2>&1 || { echo "run.sh: no NVIDIA driver answers" >&2; failed=1; }
cat "$out/device.txt"
run op_tests 150 op_tests
run model_tests 60 model_tests
run step_bench 170 step_bench
if compgen -G "$work/models/small-*" >/dev/null; then
  run server_load 45 server_load
else
  note server_load "not run" 0 "step_bench left no model"
fi
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  run eager 45 eager
else
  note eager "not run" 0 "no PyTorch with CUDA"
fi
if command -v compute-sanitizer >/dev/null; then
  left=$((520 - (SECONDS - begin)))
  run sanitizer "$((left > 30 ? left : 30))" sanitizer
else
  note sanitizer "not run" 0 "no compute-sanitizer"
fi

python3 "$programs/summary.py" "$out" "$(cat "$programs/commit")"
exit "$failed"
