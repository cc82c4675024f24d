#!/usr/bin/env bash
# The fault bench: breaks one thing at a time under load and judges what came out.
#
#   bash tests/faults/run.sh                    the slice of every change
#   bash tests/faults/run.sh all                every row with every cycle: hours
#   bash tests/faults/run.sh ROW|GROUP... [OPTION...]   such as F-01, or L --store sqlite
#   bash tests/faults/run.sh list
#   bash tests/faults/run.sh build              only the daemon with crash points, for HOOKWELL_FAILPOINTS_BIN
#
# Options: --store sqlite|postgres, --seed N, --whole, --jobs N (rows at once),
# --results FILE, --keep, --strict (a row that cannot run here is a failure).
# Installs with apt-get what is missing; power cuts and namespaces want root.
# Exits 1 when a row fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/services.sh
. deploy/services.sh

case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
  list | check) exec cargo test --quiet --locked --test faults -- "$@" ;;
  '' | -*) set -- first "$@" ;;
esac

install_missing cc rabbitmq postgres openssl pika
# Rows that need one of these say so when it cannot be had.
for tool in xfs strace iptables; do
  install_missing "$tool" || true
done

# The binary under test, as it ships but for the profile; and one with crash
# points and deliberate defects, which the bench must catch. Cargo gives both the
# same name: the tests of `tests/run.sh` run beside this, and build them before.
target=$(cargo_target)
if [[ -z ${HOOKWELL_FAILPOINTS_BIN-} ]]; then
  export HOOKWELL_FAILPOINTS_BIN=$target/debug/hookwell-failpoints
  cargo build --locked --bin hookwell --features failpoints
  cp "$target/debug/hookwell" "$HOOKWELL_FAILPOINTS_BIN"
fi
[[ $1 != build ]] || exit 0
exec cargo test --quiet --locked --test faults -- run "$@"
