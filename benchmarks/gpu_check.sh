#!/usr/bin/env bash
# On a machine with a GPU: build, test the CUDA half, look for bad accesses, and time the ops.
# Uses the environment's Python, torch, cmake, ninja and nvcc, and no network. Results go to $OUT, or to
# benchmarks/results/.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-benchmarks/results}
mkdir -p "$out"
export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
log=$out/gpu_check.log
: > "$log"
failed=0

# step NAME SECONDS COMMAND…: one line of outcome; the command's output goes to the log.
step() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  echo "== $name: $*" >> "$log"
  if timeout "$limit" "$@" >> "$log" 2>&1; then
    echo "ok      $name ($((SECONDS - start)) s)"
  else
    echo "FAILED  $name ($((SECONDS - start)) s); the end of $log:"
    tail -n 40 "$log"
    failed=1
    return 1
  fi
}

"$python" -c "import torch; assert torch.cuda.is_available(), 'torch sees no GPU'" || exit 2
capability=$("$python" -c "import torch; print('%d%d' % torch.cuda.get_device_capability())")
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

# This device's architecture alone, to save time.
export KCIRCUITS_CMAKE_ARGS="-DCMAKE_CUDA_ARCHITECTURES=$capability ${KCIRCUITS_CMAKE_ARGS:-}"
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
step build 180 "$python" setup.py build_ext --inplace || exit 1

if "$python" -c "import pytest, hypothesis" 2>> "$log"; then
  step tests 100 "$python" -m pytest tests/cuda/test_device.py -x
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
      step "compute-sanitizer $tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$python" -m pytest tests/cuda/test_device.py -x -k "odd-width or few-receivers or everything"
    done
  else
    echo "skipped compute-sanitizer: not installed"
  fi
else
  echo "FAILED  tests: pytest and hypothesis are not installed"
  failed=1
fi

step timings 70 "$python" benchmarks/ops/bench_cuda.py --out "$out" && cat "$out/cuda_ops.md"
exit $failed
