#!/usr/bin/env bash
# Builds the release binary so that its bytes depend on the sources, Cargo.lock,
# rustc and the C toolchain alone, and not on where that happens.
#
#   bash deploy/supply-chain/reproduce.sh           builds it twice, in two places, and compares
#   bash deploy/supply-chain/reproduce.sh FILE      builds it once, into FILE: what is to be released
#
# Takes the last commit, not the working tree. Prints the compilers and the SHA-256:
# with the same toolchains it is the same on another machine. A plain
# `cargo build --release` has the paths of its own place in it, and so another sum.
set -euo pipefail
case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/hookwell-reproduce.XXXXXX")
trap 'rm -rf "$work"' EXIT
cargo_home=${CARGO_HOME-$HOME/.cargo}
commit=$(git -C "$root" rev-parse HEAD)

# build DIRECTORY: the commit, built in there; prints where the binary is.
build() {
  local place=$1 maps
  mkdir -p "$place/source"
  git -C "$root" archive "$commit" | tar -x -C "$place/source"
  # For rustc, and for the C of SQLite and ring.
  maps=("$place=/build" "$cargo_home=/cargo" "$(rustc --print sysroot)=/rust")
  (
    cd "$place/source"
    unset RUSTFLAGS "${!CARGO_PROFILE_@}" "${!CARGO_BUILD_RUST@}"
    # The separator lets a path have spaces.
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf '%s' "${maps[*]/#/--remap-path-prefix=}")
    CFLAGS=$(printf -- '-ffile-prefix-map=%s ' "${maps[@]}")
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct "$commit")
    export CARGO_ENCODED_RUSTFLAGS CFLAGS SOURCE_DATE_EPOCH
    export CARGO_TARGET_DIR=$place/target CARGO_INCREMENTAL=0 LC_ALL=C TZ=UTC
    cargo build --release --locked --bin hookwell >&2
  )
  printf '%s\n' "$place/target/release/hookwell"
}

first=$(build "$work/one")
rustc --version
"${CC-cc}" --version | head -n 1
sha256sum "$first" | cut -d ' ' -f 1
if (($#)); then
  install -m 755 "$first" "$1"
  exit 0
fi
second=$(build "$work/another-and-longer/place")
sha256sum "$second" | cut -d ' ' -f 1
if ! cmp "$first" "$second"; then
  echo 'not reproducible: the two binaries differ' >&2
  exit 1
fi
if strings -a "$first" | grep -F -m 3 -e "$work" -e "$cargo_home"; then
  echo 'the binary names a place of this machine' >&2
  exit 1
fi
echo 'reproducible: the same bytes from two places'
