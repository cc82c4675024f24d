#!/usr/bin/env bash
# Whether the fault bench notices defects: builds the daemon with defects in it
# (src/failpoints.rs), runs into each of them, and shows what noticed it.
#
#   bash tests/faults/mutants.sh               every defect
#   bash tests/faults/mutants.sh M1 M8         these
#
# Options: --seed N, --results FILE, --keep, --strict (a defect that cannot be
# hunted on this machine counts as one that was not noticed). Exits 1 when one
# was not noticed, or when a row fails without any.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/services.sh
. deploy/services.sh

case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac

install_missing cc rabbitmq postgres openssl pika
# Rows that need one of these say so when it cannot be had.
for tool in xfs strace iptables; do
  install_missing "$tool" || true
done

# One build for all: the daemon, the bench, and the tests of the library.
target=$(cargo_target)
cargo test --locked --features failpoints --no-run --lib --test faults
# Another build in the same folder must not replace it meanwhile.
cp "$target/debug/hookwell" "$target/debug/hookwell-failpoints"
export HOOKWELL_FAILPOINTS_BIN=$target/debug/hookwell-failpoints
exec cargo test --quiet --locked --features failpoints --test faults -- mutants "$@"
