#!/usr/bin/env bash
# How hookwell stands with ten million events in its log: every page of the console and the commands of an
# operator, on SQLite and on Postgres, with everything published and with a tenth of the log waiting.
#
#   bash benches/ten_million.sh BINARY                  both stores, ten million events
#   bash benches/ten_million.sh BINARY --events 1000000 --store sqlite
#
#   --events N       events in the log (10000000)
#   --store NAME     sqlite, postgres or both (both)
#   --state NAME     all (everything published), waiting (a tenth of the log waits) or both (both)
#   --seconds N      length of each of the two runs of appends (60)
#   --rate N         appends a second meanwhile (200)
#   --keep FOLDER    leaves the filled stores in FOLDER; with FOLDER of an earlier run they are not filled again
#   --fill-only      fills and measures nothing; for --keep
#
# Prints tables, and at the end `all pages under 100 ms`, or those that are not: exit code 1 then. A page counts
# by its p99 while nothing else goes on, and by its median while appends run. Commands have no limit.
#
# RabbitMQ is away all the time, so that what waits goes on waiting. The log is filled by SQL with made-up
# events, the same on both stores; what the daemon would have written beside them is as it would have it, and
# `hookwell status` has to agree. Private servers on free loopback ports; about 2.5 KB of disk for each event;
# nothing is left behind. With ten million events it takes about an hour.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=deploy/services.sh
. deploy/services.sh

APP_ID=65f0c0ffee65f0c0ffee65f0
BYTES_AN_EVENT=2500

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
wrong() { complain "$*; try --help"; exit 64; }
number() { [[ ${2-} =~ ^[1-9][0-9]*$ ]] || wrong "$1 needs a number"; }

hookwell='' events=10000000 stores='sqlite postgres' states='all waiting' seconds=60 rate=200 keep='' fill_only=''
while (($#)); do
  case $1 in
    --events) number "$@"; events=$2; shift ;;
    --seconds) number "$@"; seconds=$2; shift ;;
    --rate) number "$@"; rate=$2; shift ;;
    --store)
      case ${2-} in
        sqlite | postgres) stores=$2 ;;
        both) ;;
        *) wrong '--store takes sqlite, postgres or both' ;;
      esac
      shift
      ;;
    --state)
      case ${2-} in
        all | waiting) states=$2 ;;
        both) ;;
        *) wrong '--state takes all, waiting or both' ;;
      esac
      shift
      ;;
    --keep) [[ -n ${2-} ]] || wrong '--keep needs a folder'; keep=$2; shift ;;
    --fill-only) fill_only=1 ;;
    -h | --help) usage; exit 0 ;;
    -*) wrong "unknown option '$1'" ;;
    *) [[ -z $hookwell ]] || wrong 'name one binary of hookwell'; hookwell=$1 ;;
  esac
  shift
done
[[ -n $hookwell ]] || wrong 'name a binary of hookwell'
[[ -x $hookwell && -f $hookwell ]] || { complain "$hookwell is not there, or cannot be run"; exit 66; }
hookwell=$(realpath -- "$hookwell")
((events >= 100000)) || wrong '--events must be at least 100000: pages that look at a part of the log need a log'
# Settings of this shell are not what is measured.
for name in "${!HOOKWELL_@}"; do unset "$name"; done
export PYTHONDONTWRITEBYTECODE=1
fill=$root/benches/ten_million/fill.py measure=$root/benches/ten_million/measure.py

die() { complain "$1"; shift; show_log "$@"; exit 2; }
note() { printf '%s\n' "$*" >&2; }

if [[ -n $keep ]]; then
  mkdir -p "$keep"
  work=$(realpath -- "$keep")
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-ten.XXXXXX")
fi
# Root runs Postgres as another user, who must be able to pass through here.
chmod 711 "$work"
daemon='' http_port='' admin_port='' dead_port=''
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  local code=$?
  trap - EXIT INT TERM HUP
  [[ -z $daemon ]] || end_process "${daemon% *}" "${daemon#* }" TERM 20 || true
  stop_service "$work/postgres" || true
  if [[ -n $keep ]]; then
    note "The filled stores are in $work"
  else
    rm -rf -- "$work" 2>/dev/null || { sleep 1; rm -rf -- "$work"; }
  fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the daemon ---------------------------------------------------------------------

# configure STORE URL: its console has a person, and nobody listens where RabbitMQ should be.
configure() {
  cat >"$work/$1.toml" <<TOML
[http]
listen = "127.0.0.1:$http_port"
[admin]
listen = "127.0.0.1:$admin_port"
token = "ada:$token"
[store]
url = "$2"
# The log is twenty days long.
keep_bodies = "30days"
[broker]
url = "amqp://guest:guest@127.0.0.1:$dead_port/%2f"
retry_max = "10s"
[signature]
ed25519_keys = ["""
$(<"$work/key.pem.pub")
"""]
[quarantine]
max_entries = 1000
[log]
format = "json"
filter = "warn,hookwell::relay=error"
[[apps]]
id = "$APP_ID"
path = "/webhooks/ghl"
TOML
}

# start_daemon STORE: sets $daemon, and $ready_after to the seconds until it was ready.
start_daemon() {
  local pid since began
  began=$(date +%s.%N)
  launch "$work/daemon.pid" "$work/daemon.log" "$hookwell" serve --config "$work/$1.toml"
  pid=$(<"$work/daemon.pid")
  since=$(process_started "$pid") || die 'the daemon ended at once' "$work/daemon.log"
  daemon="$pid $since"
  ready_after=$(python3 "$measure" ready "$admin_port" "$began") || die 'the daemon was not ready' "$work/daemon.log"
}
stop_daemon() {
  end_process "${daemon% *}" "${daemon#* }" TERM 30
  daemon=''
}
resident() { awk '$1 == "VmRSS:" { printf "%.1f MiB", $2 / 1024 }' "/proc/${daemon% *}/status"; }

# --- filling ------------------------------------------------------------------------

niced() { nice -n 10 "$@"; }
# Through the socket or loopback; stops at the first error.
psql_quietly() { niced "$pg_bin/psql" -q -X -v ON_ERROR_STOP=1 -o "$work/psql.log" "$pg_url" "$@"; }

# settings NAME=VALUE...: of the server, from its next start; none resets them all.
settings() {
  local setting
  (($#)) || psql_quietly -c 'alter system reset all'
  for setting in "$@"; do psql_quietly -c "alter system set ${setting%%=*} = '${setting#*=}'"; done
  restart_service "$work/postgres"
}

# The log's partitions as a daemon would have made them: about two days each, and one ahead.
partitions() {
  local from size=$((events / 10))
  printf 'drop table events_1, events_250001; delete from event_partitions;\n'
  for ((from = 1; from <= events + size; from += size)); do
    printf 'create table events_%d partition of events for values from (%d) to (%d);\n' "$from" "$from" $((from + size))
    printf "insert into event_partitions values (%d, %d, 'events_%d', %d);\n" "$from" $((from + size)) "$from" "$now"
  done
}

fill_postgres() {
  settings wal_level=minimal max_wal_senders=0 fsync=off full_page_writes=off autovacuum=off max_wal_size=4GB \
    maintenance_work_mem=1GB shared_buffers=512MB
  # A table that is made in the same transaction goes into no write-ahead log.
  niced python3 "$fill" events "$events" "$now" "$work/postgres.facts" \
    | psql_quietly -c begin -c "$(partitions)" -c 'copy events from stdin (format binary)' -c commit
  psql_quietly -c begin -c 'truncate event_keys' -c 'alter table event_keys drop constraint event_keys_pkey' \
    -c 'insert into event_keys select event_key, app_id, position, received_at, body_hash from events' \
    -c 'alter table event_keys add primary key (event_key, app_id)' -c commit
  { echo 'begin;'; niced python3 "$fill" beside "$events" "$now" "$work/postgres.facts"; echo 'commit;'; } >"$work/beside.sql"
  psql_quietly -f "$work/beside.sql"
  psql_quietly -c 'vacuum analyze' -c checkpoint
  settings
}

# fill_store STORE: an empty store with the schema, then the log.
fill_store() {
  local store=$1 began=$SECONDS
  if [[ -s $work/$store.facts ]]; then
    note "$store: filled by an earlier run"
    return 0
  fi
  note "$store: making the schema"
  start_daemon "$store"
  stop_daemon
  note "$store: filling the log with $events events"
  now=$(($(date +%s%N) / 1000))
  case $store in
    sqlite)
      SQLITE_TMPDIR=$work niced python3 "$fill" sqlite "$work/log.db" "$events" "$now" "$work/sqlite.facts.new"
      mv "$work/sqlite.facts.new" "$work/sqlite.facts"
      ;;
    postgres) fill_postgres || { rm -f "$work/postgres.facts"; die 'Postgres was not filled' "$work/postgres/log/postgres.log"; } ;;
  esac
  rm -f "$work/beside.sql"
  sync -f "$work"
  note "$store: filled in $((SECONDS - began)) s"
}

# set_state STORE all|waiting
set_state() {
  case $1 in
    sqlite) niced python3 "$fill" sqlite-state "$work/log.db" "$work/sqlite.facts" "$2" ;;
    postgres)
      { echo 'begin;'; python3 "$fill" state "$work/postgres.facts" "$2"; echo 'commit;'; } >"$work/state.sql"
      psql_quietly -f "$work/state.sql" -c 'vacuum analyze held_events, held_tenants, cursors'
      ;;
  esac
}

# --- measuring ----------------------------------------------------------------------

size_of() {
  case $1 in
    sqlite) du -m "$work/log.db" | awk '{ printf "%.1f GiB", $1 / 1024 }' ;;
    postgres) "$pg_bin/psql" -X -A -t -c "select pg_size_pretty(pg_database_size('hookwell'))" "$pg_url" ;;
  esac
}

# stand STORE all|waiting
stand() {
  local store=$1 label status
  label="$store, everything published"
  [[ $2 == all ]] || label="$store, a tenth of the log waits"
  set_state "$store" "$2"
  printf '\n== %s\n' "$label"
  start_daemon "$store"
  status=$("$hookwell" status --config "$work/$store.toml") || die "the ledger of $store does not hold: $status" "$work/daemon.log"
  printf '%s\n' "$status" | sed 's/^/  /'
  printf '  ready %s s after the start; the store is %s\n' "$ready_after" "$(size_of "$store")"
  sleep 15
  printf '  memory at rest: %s\n' "$(resident)"
  python3 "$measure" pages "$label" "$admin_port" "$token" "$work/$store.facts" "$work/over"
  printf '  memory after the pages: %s\n' "$(resident)"
  # Some of them read the whole log: they do it once.
  [[ $2 != "${states##* }" ]] || python3 "$measure" commands "$label" "$admin_port" "$token" "$work/$store.facts" "$hookwell" "$work/$store.toml"
  python3 "$measure" load "$label" "$admin_port" "$token" "$work/$store.facts" "$work/over" "$hookwell" "$work/$store.toml" \
    "$work/key.pem" "$rate" "$seconds"
  printf '  memory after the appends: %s\n' "$(resident)"
  stop_daemon
  if [[ -s $work/daemon.log ]]; then
    printf '  the daemon logged:\n'
    sed 's/"timestamp":"[^"]*",//' "$work/daemon.log" | cut -c 1-240 | sort | uniq -c | sort -rn | head -n 5 | sed 's/^/  /'
    : >"$work/daemon.log"
  fi
}

command -v python3 >/dev/null || die 'python3 is not installed'
[[ $stores != *postgres* ]] || tool_is_there postgres || die 'postgres is not installed: bash deploy/services.sh install postgres'
free_kib=$(df --output=avail -k "$work" | tail -n 1)
for store in $stores; do
  [[ -s $work/$store.facts ]] || ((free_kib > events * BYTES_AN_EVENT / 1024)) || die "there is too little room in $work for $events events"
done

free_port http_port
free_port admin_port
free_port dead_port
token=$(random_hex 32)
[[ -e $work/key.pem ]] || "$hookwell" keys generate --out "$work/key.pem" >"$work/keys.log"
rm -f "$work/over"
: >"$work/daemon.log"

printf 'machine: %s, %s cores, %s of memory; Linux %s; load %s\n' \
  "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
  "$(awk '$1 == "MemTotal:" { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)" "$(uname -r)" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
printf 'binary: %s, %s bytes; %s\n' "$("$hookwell" --version)" "$(stat -c %s "$hookwell")" "$(python3 --version)"
printf 'log: %s events of 400 to 900 bytes, 2000 tenants, 31 types\n' "$events"

for store in $stores; do
  case $store in
    sqlite) configure sqlite "sqlite://$work/log.db" ;;
    postgres)
      if [[ -s $work/postgres.facts ]]; then restart_service "$work/postgres"; else start_postgres "$work/postgres"; fi
      pg_bin=$(service_value "$work/postgres" PG_BIN)
      pg_url=$(service_value "$work/postgres" PG_URL)
      printf '\n%s, as it comes (shared_buffers 128 MB)\n' "$("$pg_bin/postgres" --version)"
      configure postgres "$pg_url"
      ;;
  esac
  fill_store "$store"
  [[ -z $fill_only ]] || states=''
  for state in $states; do stand "$store" "$state"; done
  if [[ $store == postgres ]]; then stop_service "$work/postgres"; fi
  # Room for the next one.
  [[ -n $keep ]] || rm -rf -- "$work"/log.db* "$work/postgres"
done

[[ -z $fill_only ]] || exit 0
echo
if [[ -s $work/over ]]; then
  printf '%s pages are not under 100 ms:\n' "$(wc -l <"$work/over")"
  sed 's/^/  /' "$work/over"
  exit 1
fi
echo 'all pages under 100 ms'
