#!/usr/bin/env bash
# Fails on C++ that clang-format 14 (.clang-format) would change: bash tests/check_format.sh [--install | --fix]
# Another version formats otherwise, so without that one the check says that it was skipped. --install installs it where
# apt-get can; --fix rewrites the files.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

mode=(--dry-run -Werror)
install=no
case ${1:-} in
  "") ;;
  --install) install=yes ;;
  --fix) mode=(-i) ;;
  *) echo "usage: check_format.sh [--install | --fix]" >&2 && exit 2 ;;
esac

# The name of a clang-format of version 14, or nothing.
find_tool() {
  local name
  for name in clang-format-14 clang-format; do
    if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then echo "$name" && return; fi
  done
}

tool=$(find_tool)
if [ -z "$tool" ] && [ $install = yes ] && can_install; then
  say "Installing clang-format-14"
  apt_install clang-format-14 || true
  tool=$(find_tool)
fi
if [ -z "$tool" ]; then
  echo "[skipped] format: clang-format 14 is not installed"
  exit 0
fi

# Every C++ file that git does not ignore; where there is no git, every one outside build folders.
cd "$root"
patterns=('*.h' '*.hpp' '*.c' '*.cpp' '*.cu' '*.cuh')
if git rev-parse --git-dir >/dev/null 2>&1; then
  list() { git ls-files -z --cached --others --exclude-standard -- "${patterns[@]}"; }
else
  list() { find . -path './build*' -prune -o \( -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0; }
fi
list | xargs -0 -r "$tool" "${mode[@]}" || {
  echo "format: the files above differ from .clang-format; bash tests/check_format.sh --fix rewrites them" >&2
  exit 1
}
echo "format: $(list | tr -cd '\0' | wc -c) files are as clang-format 14 writes them"
