#!/usr/bin/env bash
# The soak: one daemon for hours at half of what the machine carries, with calls
# to make, short keeping times, and something mild that goes wrong every now and
# then (the broker restarted, connections cut, a store that waits, an API that
# refuses). Prints the slope of memory, descriptors, threads, tasks, series, store,
# write-ahead log and backlog, and fails where one rises or anything was lost.
#
#   bash tests/soak.sh                     four hours on each store
#   bash tests/soak.sh --hours 24 --store postgres
#   bash tests/soak.sh --minutes 30 --rate 150
#
# Options: --hours N, --minutes N, --store sqlite|postgres, --rate N (events a
# second, instead of half of what is found to be carried), --seed N, --keep.
# Takes the release build, or the one that HOOKWELL_BIN names. Installs with
# apt-get what is missing. Each million events takes about a gigabyte in TMPDIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/services.sh
. deploy/services.sh

wrong() { complain "$*; try --help"; exit 64; }
minutes=240 options=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --hours | --minutes)
      [[ ${2-} =~ ^[0-9]+$ ]] || wrong "$1 needs a number"
      case $1 in --hours) minutes=$(($2 * 60)) ;; *) minutes=$2 ;; esac
      shift
      ;;
    --store | --rate | --seed)
      [[ -n ${2-} ]] || wrong "$1 needs a value"
      options+=("$1" "$2")
      shift
      ;;
    --keep) options+=("$1") ;;
    *) wrong "unknown argument '$1'" ;;
  esac
  shift
done
((minutes >= 1)) || wrong 'a soak takes at least a minute'

install_missing cc rabbitmq postgres openssl pika
if [[ -z ${HOOKWELL_BIN-} ]]; then
  cargo build --release --locked --bin hookwell
  HOOKWELL_BIN=$(cargo_target)/release/hookwell
fi
export HOOKWELL_BIN
printf 'load average before: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
exec cargo test --quiet --locked --test faults -- soak --minutes "$minutes" "${options[@]}"
