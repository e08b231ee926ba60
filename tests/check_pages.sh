#!/usr/bin/env bash
# Tests the pages that the programs of build/ write in a browser without a window: bash tests/check_pages.sh [--install]
# Without Chromium and its driver the tests say that they were skipped. --install installs them where apt-get can.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

case ${1:-} in
  "") ;;
  --install)
    if ! command -v chromedriver >/dev/null && can_install; then
      say "Installing chromium-driver"
      apt_install chromium chromium-driver || true
    fi
    ;;
  *) echo "usage: check_pages.sh [--install]" >&2 && exit 2 ;;
esac

ctest --test-dir "$root/build" --output-on-failure --no-tests=error -R '^browser:'
