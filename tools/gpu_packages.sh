# What Crisp's build and tests need of other packages, as a folder to carry along; tools/gpu-check sources it.
# shellcheck shell=bash

# The first directory of headers that has the file.
include_of() {
  local directory directories
  IFS=: read -ra directories <<<"${CPATH:-}"
  for directory in $(tr ':;' '  ' <<<"${CMAKE_PREFIX_PATH:-}"); do directories+=("$directory/include"); done
  for directory in "${directories[@]}" /usr/include "/usr/include/$(${CXX:-g++} -print-multiarch)" /usr/local/include /opt/homebrew/include; do
    for directory in "$directory" "$directory/eigen3"; do
      [ ! -e "$directory/$1" ] || { echo "$directory" && return; }
    done
  done
  die "tools/gpu-check --collect: no $1 on this machine; tools/test installs what is missing"
}

# version_of HEADER MACRO...: the macros' values with dots between.
version_of() {
  local directory header=$1
  shift
  directory=$(include_of "$header") || return
  printf '#include <%s>\n%s\n' "$header" "$*" | ${CXX:-g++} -std=c++20 -I "$directory" -E -P -x c++ - | tail -n 1 | tr ' ' .
}

# copy_headers TO FILE...: a directory, or a file with all that it includes from the same directory.
copy_headers() {
  local to=$1 name from file
  shift
  for name in "$@"; do
    from=$(include_of "$name") || return
    if [ -d "$from/$name" ]; then
      mkdir -p "$to/$name" && cp -RL "$from/$name/." "$to/$name/"
    else
      ${CXX:-g++} -std=c++20 -I "$from" -M -x c++ "$from/$name" | tr ' ' '\n' | grep "^$from/${name%%/*}" | sort -u |
        while read -r file; do
          mkdir -p "$to/$(dirname "${file#"$from/"}")" && cp -L "$file" "$to/${file#"$from/"}" || return
        done
    fi || return
  done
}

# package DIR NAME VERSION TARGET [PROPERTY VALUE]...: a package that consists of headers.
package() {
  local cmake=$1/lib/cmake/$2 version=$3 target=$4
  mkdir -p "$cmake" && printf '%s\n' "set(PACKAGE_VERSION \"$version\")" \
    'if(NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)' '  set(PACKAGE_VERSION_COMPATIBLE TRUE)' 'endif()' \
    >"$cmake/$2ConfigVersion.cmake" || return
  local name=$2
  shift 4
  printf '%s\n' "if(NOT TARGET $target)" "  add_library($target INTERFACE IMPORTED)" \
    "  set_target_properties($target PROPERTIES" \
    "    INTERFACE_INCLUDE_DIRECTORIES \"\${CMAKE_CURRENT_LIST_DIR}/../../../include\"" \
    "${@/#/    }" '  )' 'endif()' >"$cmake/${name}Config.cmake"
}

# copy_static DIR NAME...: libNAME.a into DIR/lib.
copy_static() {
  local to=$1 name file
  shift
  mkdir -p "$to/lib"
  for name in "$@"; do
    file=$(${CXX:-g++} -print-file-name="lib$name.a")
    [ -e "$file" ] || die "tools/gpu-check --collect: no lib$name.a on this machine"
    cp -L "$file" "$to/lib/"
  done
}

# collect_packages DIR: a prefix that find_package and find_library take everything from. Its libraries are static ones of
# this machine's kind of processor.
collect_packages() {
  local to=$1 include=$1/include cmake version directory boost
  # Boost is large: only what is included, and what that includes.
  mapfile -t boost < <(grep -rhoE '#include <boost/[^>]+' --include='*.cpp' --include='*.h' \
    "$root"/{data,engine,model,tests,tools,train,weights} | sed 's/.*<//' | sort -u)
  copy_headers "$include" Eigen fmt nlohmann CLI nettle catch2 utf8proc.h zlib.h zconf.h "${boost[@]}" || return
  [ ! -d "$(include_of Eigen)/unsupported" ] || copy_headers "$include" unsupported || return
  copy_static "$to" utf8proc nettle z || return
  version=$(version_of Eigen/Core EIGEN_WORLD_VERSION EIGEN_MAJOR_VERSION EIGEN_MINOR_VERSION) || return
  package "$to" Eigen3 "$version" Eigen3::Eigen || return
  version=$(version_of nlohmann/json.hpp NLOHMANN_JSON_VERSION_MAJOR NLOHMANN_JSON_VERSION_MINOR \
    NLOHMANN_JSON_VERSION_PATCH) || return
  package "$to" nlohmann_json "$version" nlohmann_json::nlohmann_json || return
  package "$to" fmt "$(version_of fmt/core.h FMT_VERSION)" fmt::fmt 'INTERFACE_COMPILE_DEFINITIONS FMT_HEADER_ONLY' || return
  version=$(version_of CLI/CLI.hpp CLI11_VERSION_MAJOR CLI11_VERSION_MINOR CLI11_VERSION_PATCH) || return
  package "$to" CLI11 "$version" CLI11::CLI11 || return
  if [ -e "$include/catch2/catch_all.hpp" ]; then
    copy_static "$to" Catch2 || return
    package "$to" Catch2 3 Catch2::Catch2 \
      "INTERFACE_LINK_LIBRARIES \"\${CMAKE_CURRENT_LIST_DIR}/../../libCatch2.a\"" || return
  else
    package "$to" Catch2 2 Catch2::Catch2 || return
  fi
  # What makes a ctest of each TEST_CASE.
  for directory in /usr/lib/cmake /usr/lib/*/cmake /usr/share/cmake /usr/local/lib/cmake; do
    cmake=$directory/Catch2
    [ ! -e "$cmake/Catch.cmake" ] || { cp "$cmake"/Catch*Tests.cmake "$cmake/Catch.cmake" "$to/lib/cmake/Catch2/" && return; }
  done
  die "tools/gpu-check --collect: no Catch.cmake on this machine"
}
