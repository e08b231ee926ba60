# What some stages of tools/gpu-check do, which sources it. They run in shells of their own, under the stage's limit, with
# its variables; exit code 4: skipped, with a sentence.
# shellcheck shell=bash disable=SC2154

# build_it CUDA TARGET...: CUDA is ON, or empty for what the build folder has.
build_it() {
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$headers" \
    ${1:+-DCRISP_CUDA="$1"} && shift && cmake --build "$build" --parallel "$(build_jobs)" --target "$@"
}

describe_device() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader
  nvcc --version | tail -n 2
}

# train_with_graphs PROGRAM STEPS: the same weights, bit by bit, call by call and in graphs (engine/cuda/README.md).
train_with_graphs() {
  local graphs
  for graphs in 0 1 whole; do
    CRISP_CUDA_GRAPH=$graphs "$1" --device cuda --precision tf32 --weights weights/sample --data data/sample --batch-size 4 \
      --gradient-accumulation-steps 2 --max-steps "$2" --max-eval-samples 4 --output "$results/graphs-$graphs" || return 1
  done
  for graphs in 1 whole; do
    cmp "$results/graphs-0/model.safetensors" "$results/graphs-$graphs/model.safetensors" || return 1
  done
  echo "the same weights after $2 steps"
}

# time_peer OPTION...: PyTorch's step on the same sentences.
time_peer() {
  if ! python3 -c 'import torch, transformers' 2>/dev/null; then
    echo "[skipped] PyTorch or transformers is not installed" && return 4
  fi
  [ -n "$peer" ] || { echo "[skipped] no --peer was given" && return 4; }
  python3 "$peer" --device "$peer_device" --json "$@"
}

# profile_kernels OPTION...: of crisp-bench. The kernels of a few steps by their time, and what Nsight Compute says of one
# launch of each of the five longest.
profile_kernels() {
  local tool names name
  for tool in ncu python3; do
    command -v $tool >/dev/null || { echo "[skipped] $tool is not installed" && return 4; }
  done
  local command=("$bench" "$@" --warm 1 --steps 1)
  if ! ncu --csv --print-units base --print-kernel-base function --metrics gpu__time_duration.sum \
    --log-file "$results/ncu-times.csv" "${command[@]}"; then
    ! grep -s ERR_NVGPUCTRPERM "$results/ncu-times.csv" || { echo "[skipped] this user may not read the GPU's counters" && return 4; }
    return 1
  fi
  names=$(python3 - "$results/ncu-times.csv" <<'END'
import collections, csv, sys

lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
first = next(i for i, line in enumerate(lines) if line.startswith('"ID"'))
times, launches = collections.Counter(), collections.Counter()
for row in csv.DictReader(lines[first:]):
    if row["Metric Name"] == "gpu__time_duration.sum":
        times[row["Kernel Name"]] += float(row["Metric Value"].replace(",", ""))
        launches[row["Kernel Name"]] += 1
for name, time in times.most_common():
    print(f"{name:48} {launches[name]:6} launches {1e-3 * time:12.1f} us", file=sys.stderr)
print("\n".join(name for name, _ in times.most_common(5)))
END
  ) || return 1
  for name in $names; do
    ncu --set full --kernel-name "$name" --launch-count 1 --log-file "$results/ncu-$name.txt" "${command[@]}" >/dev/null &&
      grep -E "^ +(Duration|Registers Per Thread|Achieved Occupancy|Memory Throughput|DRAM Throughput|Compute \(SM\))" \
        "$results/ncu-$name.txt" | sed "s/^ */$name: /"
  done
}
