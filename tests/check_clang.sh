#!/usr/bin/env bash
# Builds library, programs and tests with clang in build-clang/, warnings as errors, and runs the engine's tests and
# those of the includes: bash tests/check_clang.sh [--install]
# Without clang 14 or later the check says that it was skipped. --install installs it where apt-get can; CLANGXX names
# another clang++.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

case ${1:-} in
  "" | --install) ;;
  *) echo "usage: check_clang.sh [--install]" >&2 && exit 2 ;;
esac
clang=${CLANGXX:-clang++}

# Whether this compiler is new enough and brings programs about.
works() {
  local source='static_assert(__clang_major__ >= 14);
int main() {}'
  command -v "$clang" >/dev/null && "$clang" -x c++ - -o /dev/null <<<"$source" 2>/dev/null
}

if ! works && [ "${1:-}" = --install ] && [ -z "${CLANGXX:-}" ] && can_install; then
  say "Installing clang"
  apt_install clang || true
fi
if ! works; then
  echo "[skipped] clang: $clang, version 14 or later, is not installed"
  exit 0
fi

cd "$root"
say "Building with $("$clang" --version | head -n 1) in build-clang/"
# -O1 halves the time; the kernels are optimised in every build.
cmake -S . -B build-clang -G Ninja -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" -DCRISP_WERROR=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
  -DCRISP_CUDA=OFF -DCRISP_BUILD_TESTS=ON -DCRISP_BUILD_TOOLS=ON
cmake --build build-clang --parallel "$(build_jobs)"
say "Testing what clang built"
ctest --test-dir build-clang --output-on-failure --no-tests=error -j2 -R '^(engine|cuda|includes):'
