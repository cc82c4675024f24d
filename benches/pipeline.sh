#!/usr/bin/env bash
# How fast the whole path is on this machine, against yardsticks measured in the same run: the same
# server that only verifies, a bare publisher, and inserts without anything around them.
#
#   bash benches/pipeline.sh                   every section on both stores
#   bash benches/pipeline.sh --only drain      one of them, in about a minute
#   bash benches/pipeline.sh --check           exit code 1 when a bar is missed; 2 when a run breaks
#
# Sections:
#   accept   answers with the broker down, against verify-only
#   way      all the way into quorum queues, against verify-only
#   bare     the bare publisher, and both kinds of inserts on each store
#   latency  answers at 25, 50, 75 and 90 % of the peak; end to end at 500/s; while a backlog drains
#   drain    rate and CPU time of accepting and of draining when few and when many wait; draining against the
#            bare publisher; how soon a daemon is ready when many wait
#   memory   at rest, with a backlog under load, and while it drains
#   profile  CPU time by component, with perf
#
#   --only NAME          a section; may be given several times
#   --store NAME         sqlite, postgres or both (both)
#   --seconds N          length of each run (10)
#   --connections N      keep-alive connections of the generator (256; four times as many for latency)
#   --waiting N          the many waiting events of drain and profile (500000); 10000000 takes its time
#   --million N          waiting events of memory and latency (1000000; 0 leaves these parts out)
#   --results FILE       appends what was measured to FILE, as Markdown
#   --keep               leaves logs and results in their folder and says where
#
# Starts a private RabbitMQ and Postgres with deploy/services.sh, builds hookwell and the generator
# with the release profile, and cleans up. It installs nothing:
# `bash deploy/services.sh install rabbitmq postgres` does. Generator, database and broker run on the
# same machine and share its cores, so the ratios say more than the numbers. Run it on a quiet one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=deploy/services.sh
. deploy/services.sh
# shellcheck source=benches/pipeline/servers.sh
. benches/pipeline/servers.sh
# shellcheck source=benches/pipeline/sections.sh
. benches/pipeline/sections.sh
# shellcheck source=benches/pipeline/report.sh
. benches/pipeline/report.sh

SECTIONS='accept way bare latency drain memory profile'
command_line="bash benches/pipeline.sh${*:+ $*}"
seconds=10 connections=256 stores='sqlite postgres' waiting=500000 million=1000000
only='' check='' keep='' results_file=''
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
wrong() { complain "$*"; exit 64; }
number() { [[ ${2-} =~ ^[0-9]+$ ]] || wrong "$1 needs a number"; }
while (($#)); do
  case $1 in
    --seconds) number "$@"; seconds=$2; shift ;;
    --connections) number "$@"; connections=$2; shift ;;
    --waiting) number "$@"; waiting=$2; shift ;;
    --million) number "$@"; million=$2; shift ;;
    --only)
      [[ " $SECTIONS " == *" ${2:-none} "* ]] || wrong "--only takes one of: $SECTIONS"
      only+=" $2"
      shift
      ;;
    --store)
      case ${2-} in
        sqlite | postgres) stores=$2 ;;
        both) ;;
        *) wrong '--store takes sqlite, postgres or both' ;;
      esac
      shift
      ;;
    --results)
      [[ -n ${2-} ]] || wrong '--results needs a file'
      results_file=$2
      shift
      ;;
    --check) check=1 ;;
    --keep) keep=1 ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'; try --help" ;;
  esac
  shift
done
((seconds >= 1 && connections >= 1)) || wrong '--seconds and --connections must be at least 1'
((waiting >= 500000)) || wrong '--waiting must be at least 500000: so many are drained'
wants() { [[ -z $only || " $only " == *" $1 "* ]]; }

# Overrides meant for another hookwell must not change what is measured here.
for name in "${!HOOKWELL_@}"; do
  [[ $name != HOOKWELL_*__* ]] || unset "$name"
done

die() { printf 'error: %s\n' "$*" >&2; exit 2; }
note() { printf '%s\n' "$*" >&2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-bench.XXXXXX")
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  local code=$?
  trap - EXIT INT TERM HUP
  end_process "${server_pid:-0}" "$server_started" TERM 20 || true
  for service in rabbitmq postgres; do stop_service "$work/$service" at-once || true; done
  if [[ -n $keep ]] || ((code > 1 && code < 64)); then
    rm -rf -- "$work/rabbitmq/data" "$work/postgres/postgres" "$work"/*.db*
    printf 'Logs and results are in %s\n' "$work" >&2
  else
    rm -rf -- "$work" 2>/dev/null || { sleep 1; rm -rf -- "$work"; }
  fi
  exit "$code"
}
# Signals have no traps of their own: bash runs this one when one of them ends it. It may come to a signal's
# trap while it reads the second $(...) of a command, and then fails to parse it (5.2).
trap clean_up EXIT

# --- building and starting ------------------------------------------------------

for tool in rabbitmq postgres; do
  [[ $tool == postgres && $stores == sqlite ]] && continue
  tool_is_there "$tool" || die "$tool is not installed: bash deploy/services.sh install $tool"
done
if wants profile && ! perf record -q -e cpu-clock -o "$work/perf.try" true 2>/dev/null; then
  [[ -z $only ]] || die 'the section profile needs a working perf'
  note 'Without a working perf, the section profile is left out'
  SECTIONS=${SECTIONS/ profile/}
  # shellcheck disable=SC2086  # a list of words
  only=$(printf ' %s' $SECTIONS)
fi

command -v cargo >/dev/null || PATH="${HOME-}/.cargo/bin:$PATH"
note 'Building with the release profile'
cargo build --release --locked --quiet
hookwell=$(cargo_target)/release/hookwell
load=$(cargo bench --no-run --locked --quiet --bench load --message-format=json \
  | sed -n 's/.*"name":"load".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[[ -x $hookwell && -x $load ]] || die 'the build left no binaries'
# What else runs here spoils the numbers: asked before the work of this script raises the load itself.
load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)

note 'Starting RabbitMQ and Postgres'
start_servers

# --- the sections -----------------------------------------------------------------

mkdir -p "$work/results"
"$load" fsync --folder "$work" >"$work/results/disk"
wants accept || wants way && verify_only
for store in $stores; do
  ! wants accept || accept "$store"
  ! wants way || way "$store"
  ! { wants accept || wants way; } || verify_only
done
! wants bare || bare_publisher
for store in $stores; do
  ! wants bare || inserts "$store"
  ! wants latency || latency "$store"
  ! wants drain || drain "$store"
  ! wants memory || memory "$store"
  ! wants profile || profile "$store"
done

make_table
report
[[ -z $results_file ]] || append_results
if ((missed > 0)) && [[ -n $check ]]; then
  exit 1
fi
