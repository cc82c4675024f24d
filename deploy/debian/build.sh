#!/usr/bin/env bash
# Builds the Debian package of hookwell.
#
#   bash deploy/debian/build.sh                      from `cargo build --release --locked`
#   bash deploy/debian/build.sh BINARY               from a binary that is there
#   bash deploy/debian/build.sh --out DIR [BINARY]   into DIR; else into target/debian
#
# Prints the path of the package. The version is that of Cargo.toml. The same
# binary gives the same bytes: times are SOURCE_DATE_EPOCH, or that of the last
# commit. Needs Debian's dpkg-dev and binutils (both come with build-essential);
# man pages and completions come from the binary, so it must run here.
# HOOKWELL_MAINTAINER ("Name <address>") is who answers for the package.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/deploy/debian
out='' binary=''
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --out) [[ -n ${2-} ]] || die '--out needs a directory'; out=$2; shift ;;
    -*) printf "error: unknown option '%s'; try --help\n" "$1" >&2; exit 64 ;;
    *) [[ -z $binary ]] || die 'one binary, please'; binary=$1 ;;
  esac
  shift
done

for tool in dpkg-deb dpkg-shlibdeps strip; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg-dev binutils"
done

if [[ -z $binary ]]; then
  command -v cargo >/dev/null || PATH="${HOME-}/.cargo/bin:$PATH"
  command -v cargo >/dev/null || die 'Rust is not installed; or name a binary'
  cd "$root"
  cargo build --release --locked --bin hookwell >&2
  target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  binary=$target/release/hookwell
  out=${out:-$target/debian}
fi
binary=$(realpath -- "$binary")
[[ -f $binary && -x $binary ]] || die "$binary is not there, or cannot be run"
out=$(realpath -m -- "${out:-$root/target/debian}")

# Cargo's 1.0.0-rc.1 comes before 1.0.0, and so does Debian's 1.0.0~rc.1.
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
[[ -n $version ]] || die 'Cargo.toml has no version'
version=${version/-/\~}-1
maintainer=${HOOKWELL_MAINTAINER-hookwell maintainers <hookwell@localhost.localdomain>}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH-$(git -C "$root" log -1 --format=%ct 2>/dev/null)} \
  || die 'SOURCE_DATE_EPOCH is not set, and there is no commit to take the time from'
export SOURCE_DATE_EPOCH

# What the binary was made for, from its own head.
case $(od -An -tx1 -N4 "$binary" | tr -d ' ')$(od -An -tu2 -j18 -N2 "$binary" | tr -d ' ') in
  7f454c4662) architecture=amd64 ;;
  7f454c46183) architecture=arm64 ;;
  7f454c46243) architecture=riscv64 ;;
  *) die "$binary is no program for amd64, arm64 or riscv64" ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/tree doc=$work/tree/usr/share/doc/hookwell

# --- the files -----------------------------------------------------------------

# Without settings of this shell: the pages say what the defaults are.
pristine() { (cd "$work" && env -i PATH="$PATH" HOME="$work" "$binary" "$@"); }

mkdir -p "$tree/usr/bin" "$tree/usr/share/man/man1" "$doc/examples" "$work/man"
strip --strip-unneeded --remove-section=.comment --remove-section=.note -o "$tree/usr/bin/hookwell" "$binary"
chmod 755 "$tree/usr/bin/hookwell"

pristine man --dir "$work/man" >&2 \
  || die "this binary has no \`hookwell man --dir DIR\`: the package would be without man pages; build a newer one"
compgen -G "$work/man/hookwell*.1" >/dev/null || die 'hookwell man wrote no page hookwell*.1'
install -m 644 "$work"/man/*.1 "$tree/usr/share/man/man1/"

# completion SHELL FILE
completion() {
  mkdir -p "$tree/$(dirname "$2")"
  if ! pristine completions "$1" >"$tree/$2" || [[ ! -s $tree/$2 ]]; then
    die "this binary has no \`hookwell completions $1\`; build a newer one"
  fi
}
completion bash usr/share/bash-completion/completions/hookwell
completion zsh usr/share/zsh/vendor-completions/_hookwell
completion fish usr/share/fish/vendor_completions.d/hookwell.fish

install -D -m 644 "$root/deploy/systemd/hookwell.service" "$tree/lib/systemd/system/hookwell.service"
# Its group becomes that of the daemon when it is installed; here that is a name of root's.
install -d -m 750 "$tree/etc/hookwell"
install -m 640 "$here/hookwell.toml" "$tree/etc/hookwell/hookwell.toml"

install -m 644 "$here/copyright" "$doc/copyright"
install -m 644 "$root/README.md" "$doc/README.md"
# Under the names by which README links to them.
install -d -m 755 "$doc/deploy"
install -m 644 "$root"/deploy/*.md "$doc/deploy/"
install -m 644 "$root/CHANGELOG.md" "$doc/changelog"
install -m 644 "$root/config/default.toml" "$root/config/follow_ups.toml" "$root/deploy/proxy/Caddyfile" \
  "$root/deploy/proxy/nginx.conf" "$doc/examples/"
for optional in alerts.yaml prometheus.yaml dashboard.json; do
  [[ ! -e $root/deploy/observe/$optional ]] || install -m 644 "$root/deploy/observe/$optional" "$doc/examples/"
done
cat >"$doc/changelog.Debian" <<CHANGELOG
hookwell ($version) stable; urgency=medium

  * What changed is in changelog.gz.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG
# -n: without the name and the time of the file.
gzip -9 -n "$doc/README.md" "$doc/changelog" "$doc/changelog.Debian" "$tree"/usr/share/man/man1/*.1
install -D -m 644 "$here/lintian-overrides" "$tree/usr/share/lintian/overrides/hookwell"

# --- the control files ------------------------------------------------------------

mkdir "$tree/DEBIAN" "$work/shlibs" "$work/shlibs/debian"
# dpkg-shlibdeps wants to be in a source package.
printf 'Source: hookwell\n\nPackage: hookwell\nArchitecture: any\n' >"$work/shlibs/debian/control"
depends=$(cd "$work/shlibs" && dpkg-shlibdeps -O -e"$tree/usr/bin/hookwell" 2>"$work/shlibs.log" | sed -n 's/^shlibs:Depends=//p')
[[ -n $depends ]] || { cat "$work/shlibs.log" >&2; die 'dpkg-shlibdeps found no libraries that the binary needs'; }
# By size, not by blocks: that is the same on every file system.
size=$(find "$tree" -path "$tree/DEBIAN" -prune -o \( -type f -printf '%s\n' -o -printf '1\n' \) \
  | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@MAINTAINER@|$maintainer|" \
  -e "s|@SIZE@|$size|" -e "s|@DEPENDS@|$depends|" "$here/control.in" >"$tree/DEBIAN/control"
echo /etc/hookwell/hookwell.toml >"$tree/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
  >"$tree/DEBIAN/md5sums"

find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
package=$out/hookwell_${version}_$architecture.deb
dpkg-deb --root-owner-group --uniform-compression -Zxz --build "$tree" "$package" >&2
printf '%s\n' "$package"
