# Shared by tools/quickstart, tools/test and the scripts in tests, which source it. Sets `root`; changes no directory.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s\n' "$@" >&2
  exit 1
}

# Debian package, and how to see that it is there without asking dpkg (so that other systems and own builds count too):
# "command NAME..." any of these programs; "header FILE..." any of these files in an include directory.
requirement() {
  case $1 in
    g++) echo command "${CXX:-g++}" c++ ;;
    cmake) echo command cmake ;;
    ninja-build) echo command ninja ;;
    libeigen3-dev) echo header eigen3/Eigen/Core Eigen/Core ;;
    libfmt-dev) echo header fmt/format.h ;;
    nlohmann-json3-dev) echo header nlohmann/json.hpp ;;
    libcli11-dev) echo header CLI/CLI.hpp ;;
    libutf8proc-dev) echo header utf8proc.h ;;
    zlib1g-dev) echo header zlib.h ;;
    libboost-dev) echo header boost/math/distributions/non_central_t.hpp ;;
    nettle-dev) echo header nettle/sha2.h ;;
    catch2) echo header catch2/catch.hpp catch2/catch_all.hpp ;;
    clang-format-14) echo command clang-format-14 ;;
    debootstrap) echo command debootstrap ;;
    g++-aarch64-linux-gnu) echo command aarch64-linux-gnu-g++ ;;
    qemu-user-static) echo command qemu-aarch64-static ;;
    python3) echo command python3 ;;
    *) die "tools/lib.sh: no rule to find the package $1" ;;
  esac
}
# shellcheck disable=SC2034  # used by the scripts that source this
build_packages=(g++ cmake ninja-build libeigen3-dev libfmt-dev nlohmann-json3-dev libcli11-dev libutf8proc-dev
  libboost-dev nettle-dev zlib1g-dev)

is_there() {
  local kind names name directory directories
  read -r kind names <<<"$(requirement "$1")"
  IFS=: read -ra directories <<<"${CPATH:-}"
  directories+=(/usr/include /usr/local/include /opt/homebrew/include)
  for directory in $(tr ':;' '  ' <<<"${CMAKE_PREFIX_PATH:-}"); do directories+=("$directory/include"); done
  for name in $names; do
    if [ "$kind" = command ]; then
      command -v "$name" >/dev/null && return 0
    else
      for directory in "${directories[@]}"; do [ -e "$directory/$name" ] && return 0; done
    fi
  done
  return 1
}

# missing PACKAGE...: those that are not there, one a line.
missing() {
  local package
  for package in "$@"; do is_there "$package" || echo "$package"; done
}

# as_root COMMAND...: runs it as root, or fails where that is impossible. sudo may ask for a password only on a terminal.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@" </dev/null
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@" </dev/null
  fi
}
can_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; }

# apt_install PACKAGE...: Debian and Ubuntu. A failing update is no reason to stop: the lists at hand may do.
apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@"
}

# ensure_packages PACKAGE...: installs what is missing, or says what it is and ends with exit code 1.
ensure_packages() {
  local absent reason="only Debian and Ubuntu's apt-get, as root or through sudo, is known here"
  mapfile -t absent < <(missing "$@")
  [ ${#absent[@]} = 0 ] && return 0
  if can_install; then
    say "Installing ${absent[*]}"
    apt_install "${absent[@]}" || true
    mapfile -t absent < <(missing "$@")
    [ ${#absent[@]} = 0 ] && return 0
    reason="apt-get, whose messages are above, did not bring them"
  fi
  die "Missing, by their Debian names ($reason):" \
    "$(printf '  %s\n' "${absent[@]}")" \
    "On Debian or Ubuntu: sudo apt-get install ${absent[*]}" \
    "Elsewhere: install the same another way; where it lies in a directory of its own, name that in CMAKE_PREFIX_PATH."
}

# One compilation per core, but none for which less than about 1 GB of memory is free.
build_jobs() {
  local cores memory
  cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1000000)}' /proc/meminfo 2>/dev/null || true)
  [ -n "$memory" ] && [ "$memory" -lt "$cores" ] && cores=$memory
  [ "$cores" -ge 1 ] || cores=1
  echo "$cores"
}

# configure OPTION...: build/ in Release with Ninja. A build/ that exists keeps its generator; one that was configured for
# another copy of the sources is configured afresh.
configure() {
  local options=(-DCMAKE_BUILD_TYPE=Release) cache=$root/build/CMakeCache.txt
  if [ ! -e "$cache" ]; then
    options+=(-G Ninja)
  elif ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
    options+=(--fresh -G Ninja)
  fi
  cmake -S "$root" -B "$root/build" "${options[@]}" "$@"
}

# count_results FILE: the numbers of a file of ctest --output-junit.
count_results() {
  local failed skipped
  [ -e "$1" ] || return 0
  # attribute KEY: a number of the <testsuite> element.
  attribute() { sed -n "s/^[[:space:]]*\(<testsuite .*\)\{0,1\}$2=\"\([0-9]*\)\".*/\2/p" "$1" | head -n 1; }
  failed=$(attribute "$1" failures) skipped=$(($(attribute "$1" skipped) + $(attribute "$1" disabled)))
  say "$(($(attribute "$1" tests) - failed - skipped)) passed, $failed failed, $skipped skipped"
}
