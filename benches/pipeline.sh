#!/usr/bin/env bash
# How fast the whole path is on this machine, against the same server that only verifies.
#
#   bash benches/pipeline.sh                 both stores, 10 s a run, a million events waiting
#   bash benches/pipeline.sh --check         the same; exit code 1 when a bar is missed; 2 when a run breaks
#
#   --seconds N          length of each run (10)
#   --connections N      keep-alive connections of the generator (256; four times as many for latency)
#   --store NAME         sqlite, postgres or both (both)
#   --million N          events waiting for the memory part (1000000; 0 leaves it out)
#   --profile            perf record of the daemon in each run, and what it saw
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

ACCEPT_BAR=0.60 WAY_BAR=0.28 P99_BAR_MS=50 REST_BAR_MIB=64 WAITING_BAR_MIB=200
APP_ID=65f0c0ffee65f0c0ffee65f0
# More than the fastest server here answers in a second: bodies are signed before the clock starts.
BODIES_PER_SECOND=30000

seconds=10 connections=256 stores='sqlite postgres' million=1000000 check='' profile='' keep=''
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
wrong() { complain "$*"; exit 64; }
number() { [[ ${2-} =~ ^[0-9]+$ ]] || wrong "$1 needs a number"; }
while (($#)); do
  case $1 in
    --seconds) number "$@"; seconds=$2; shift ;;
    --connections) number "$@"; connections=$2; shift ;;
    --million) number "$@"; million=$2; shift ;;
    --store)
      case ${2-} in
        sqlite | postgres) stores=$2 ;;
        both) ;;
        *) wrong '--store takes sqlite, postgres or both' ;;
      esac
      shift
      ;;
    --check) check=1 ;;
    --profile) profile=1 ;;
    --keep) keep=1 ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'; try --help" ;;
  esac
  shift
done
((seconds >= 1 && connections >= 1)) || wrong '--seconds and --connections must be at least 1'

# Overrides meant for another hookwell must not change what is measured here.
for name in "${!HOOKWELL_@}"; do
  [[ $name != HOOKWELL_*__* ]] || unset "$name"
done

die() { printf 'error: %s\n' "$*" >&2; exit 2; }
note() { printf '%s\n' "$*" >&2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-bench.XXXXXX")
server_pid='' server_started='' http_port='' admin_port='' dead_port=''
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
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- building and starting ------------------------------------------------------

for tool in rabbitmq postgres; do
  [[ $tool == postgres && $stores == sqlite ]] && continue
  tool_is_there "$tool" || die "$tool is not installed: bash deploy/services.sh install $tool"
done
[[ -z $profile ]] || perf record -q -e cpu-clock -o "$work/perf.try" true 2>/dev/null \
  || die '--profile needs a working perf'

command -v cargo >/dev/null || PATH="${HOME-}/.cargo/bin:$PATH"
note 'Building with the release profile'
cargo build --release --locked --quiet
hookwell=$(cargo metadata --format-version 1 --no-deps --locked \
  | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release/hookwell
load=$(cargo bench --no-run --locked --quiet --bench load --message-format=json \
  | sed -n 's/.*"name":"load".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[[ -x $hookwell && -x $load ]] || die 'the build left no binaries'

note 'Starting RabbitMQ and Postgres'
start_rabbitmq "$work/rabbitmq"
beam_pid=$(service_value "$work/rabbitmq" BEAM_PID)
ctl=$(service_value "$work/rabbitmq" RABBITMQCTL)
amqp=amqp://guest:guest@127.0.0.1:$(service_value "$work/rabbitmq" AMQP_PORT)
watch=(--watch "rabbitmq=$beam_pid")
postgres_version='not used'
if [[ $stores == *postgres* ]]; then
  start_postgres "$work/postgres"
  pg_bin=$(service_value "$work/postgres" PG_BIN)
  pg_port=$(service_value "$work/postgres" PG_PORT)
  postgres_version=$("$pg_bin/postgres" --version)
  watch+=(--watch "postgres=$(service_value "$work/postgres" PG_PID)")
fi
"$hookwell" keys generate --out "$work/key.pem" >/dev/null
free_port http_port
free_port admin_port
# Nobody listens there: the broker is down.
free_port dead_port

# configure STORE_URL BROKER_URL
configure() {
  cat >"$work/hookwell.toml" <<TOML
[http]
listen = "127.0.0.1:$http_port"
[admin]
listen = "127.0.0.1:$admin_port"
[store]
url = "$1"
[broker]
url = "$2"
retry_max = "1s"
[[broker.queues]]
name = "hookwell.contacts"
bind = ["contact.#"]
[[broker.queues]]
name = "hookwell.opportunities"
bind = ["opportunity.#"]
[[broker.queues]]
name = "hookwell.messages"
bind = ["message.#"]
[signature]
ed25519_keys = ["""
$(<"$work/key.pem.pub")
"""]
[log]
filter = "warn,hookwell::relay=error"
[[apps]]
id = "$APP_ID"
path = "/webhooks/ghl"
TOML
}

# fresh_store sqlite|postgres: an empty one; sets $store_url.
stores_made=0
fresh_store() {
  stores_made=$((stores_made + 1))
  if [[ $1 == sqlite ]]; then
    rm -f -- "$work"/*.db "$work"/*.db-* "$work"/*.db.lock
    store_url=sqlite://$work/$stores_made.db
  else
    local at=(-h 127.0.0.1 -p "$pg_port" -U postgres)
    PGOPTIONS='-c client_min_messages=warning' "$pg_bin/dropdb" "${at[@]}" --if-exists "bench$((stores_made - 1))"
    "$pg_bin/createdb" "${at[@]}" "bench$stores_made"
    store_url=postgres://postgres@127.0.0.1:$pg_port/bench$stores_made
  fi
}

# fresh_queues: a virtual host of its own, so that no run inherits another's messages; sets $broker_url.
vhosts_made=0
fresh_queues() {
  ((vhosts_made == 0)) || "$ctl" -q delete_vhost "bench$vhosts_made"
  vhosts_made=$((vhosts_made + 1))
  "$ctl" -q add_vhost "bench$vhosts_made"
  "$ctl" -q set_permissions -p "bench$vhosts_made" guest '.*' '.*' '.*'
  broker_url=$amqp/bench$vhosts_made
}

# start_server COMMAND...: in the background until stop_server; sets $server_pid.
start_server() {
  launch "$work/server.pid" "$work/server.log" "$@"
  server_pid=$(<"$work/server.pid")
  server_started=$(process_started "$server_pid") || { show_log "$work/server.log"; die 'the server ended at once'; }
  local deadline=$((SECONDS + 60))
  until port_answers "$http_port"; do
    is_alive "$server_pid" "$server_started" || { show_log "$work/server.log"; die 'the server ended'; }
    ((SECONDS < deadline)) || { show_log "$work/server.log"; die 'the server did not listen in time'; }
    sleep 0.05
  done
}
stop_server() {
  end_process "$server_pid" "$server_started" TERM 30
  server_pid='' server_started=''
}

# --- measuring --------------------------------------------------------------------

# measure NAME COMMAND...: runs the generator and keeps what it says in results/NAME.
mkdir -p "$work/results"
measure() {
  local name=$1 out=$work/results/$1 perf_pid=''
  shift
  if [[ -n $profile && -n $server_pid ]]; then
    perf record -q -e cpu-clock -F 499 -g -p "$server_pid" -o "$out.perf" 2>/dev/null &
    perf_pid=$!
  fi
  "$load" "$@" --config "$work/hookwell.toml" >"$out" || { show_log "$work/server.log"; die "the run '$name' broke"; }
  if [[ -n $perf_pid ]]; then
    kill -INT "$perf_pid" 2>/dev/null || true
    wait "$perf_pid" || true
  fi
  if (($(value "$name" not_accepted 0) + $(value "$name" broken 0) > 0)); then
    die "in the run '$name' not every request was accepted"
  fi
}
post() {
  local name=$1
  shift
  measure "$name" post --key "$work/key.pem" "$@" "${watch[@]}" --watch "hookwell=$server_pid"
}
# value RUN KEY [DEFAULT]
value() {
  local found
  found=$(sed -n "s/^$2=//p" "$work/results/$1" 2>/dev/null | tail -n 1)
  printf '%s' "${found:-${3-}}"
}
keep_value() { printf '%s=%s\n' "$2" "$3" >>"$work/results/$1"; }
# status_mib KEY: VmRSS or VmHWM of the server, in MiB.
status_mib() { awk -v key="$1:" '$1 == key { printf "%.1f", $2 / 1024 }' "/proc/$server_pid/status"; }
reckon() { awk "BEGIN { printf \"$1\", $2 }"; }

baselines=0
verify_only() {
  baselines=$((baselines + 1))
  note "Verify only, run $baselines"
  configure sqlite://unused.db "$amqp/%2f"
  start_server "$load" verify-only --config "$work/hookwell.toml"
  post "verify$baselines" --seconds "$seconds" --warm-up 1 --connections "$connections" --bodies "$BODIES_PER_SECOND" --again
  stop_server
}

pipeline() {
  local store=$1 half
  note "$store: accepting with the broker down"
  fresh_store "$store"
  configure "$store_url" "amqp://guest:guest@127.0.0.1:$dead_port/%2f"
  start_server "$hookwell" serve --config "$work/hookwell.toml"
  post "$store.accept" --seconds "$seconds" --warm-up 1 --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * (seconds + 1)))
  stop_server

  note "$store: all the way into quorum queues"
  fresh_store "$store"
  fresh_queues
  configure "$store_url" "$broker_url"
  start_server "$hookwell" serve --config "$work/hookwell.toml"
  # Topology and connections are made before the clock starts.
  post "$store.first" --seconds 1 --connections 1 --bodies 100 --confirmed
  post "$store.way" --seconds "$seconds" --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * seconds)) --confirmed

  half=$(reckon %.0f "$(value "$store.way" confirmed_rate) / 2")
  note "$store: answers at $half events/s"
  post "$store.half" --seconds "$seconds" --warm-up 1 --connections $((connections * 4)) --rate "$half" \
    --bodies $((half * (seconds + 2))) --confirmed
  sleep 3
  keep_value "$store.half" after_mib "$(status_mib VmRSS)"
  stop_server
}

memory() {
  local store=$1
  ((million > 0)) || return 0
  note "$store: memory with $million events waiting"
  fresh_store "$store"
  fresh_queues
  configure "$store_url" "$broker_url"
  "$ctl" -q stop_app
  start_server "$hookwell" serve --config "$work/hookwell.toml"
  sleep 3
  keep_value "$store.memory" rest_mib "$(status_mib VmRSS)"
  stop_server
  measure "$store.preload" preload --count "$million" # straight into the store: HTTP would take minutes
  start_server "$hookwell" serve --config "$work/hookwell.toml"
  post "$store.waiting" --seconds "$seconds" --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * seconds))
  keep_value "$store.memory" waiting_mib "$(status_mib VmHWM)"
  # From here on the high-water mark is that of draining.
  echo 5 >"/proc/$server_pid/clear_refs" 2>/dev/null || true
  "$ctl" -q start_app
  measure "$store.drain" drain --count $((million + $(value "$store.waiting" accepted))) \
    "${watch[@]}" --watch "hookwell=$server_pid"
  keep_value "$store.memory" draining_mib "$(status_mib VmHWM)"
  stop_server
}

rabbitmq_version=$("$ctl" -q version)
# What else runs here spoils the numbers: said before the work of this script raises the load itself.
load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
verify_only
for store in $stores; do
  pipeline "$store"
  verify_only
done
for store in $stores; do memory "$store"; done

# --- the table --------------------------------------------------------------------

missed=0
# judge OPERATOR VALUE BAR: "pass" or "MISSED", in $verdict.
judge() {
  if awk "BEGIN { exit !($2 $1 $3) }"; then
    verdict=pass
  else
    verdict=MISSED missed=$((missed + 1))
  fi
}
row() { printf '%-46s %12s  %-14s %s\n' "$@"; }
latency() { printf 'p50 %s, p90 %s, p99.9 %s, max %s' "$(value "$1" p50_ms)" "$(value "$1" p90_ms)" "$(value "$1" p999_ms)" "$(value "$1" max_ms)"; }

printf '\nMachine: %s cores, %s, Linux %s, %s GiB; load before: %s\n' "$(nproc)" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" \
  "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$load_before"
printf 'Servers: RabbitMQ %s, %s, file system %s\n' "$rabbitmq_version" "$postgres_version" "$(stat -f -c %T "$work")"
printf 'Build: %s, %s\n' "$("$hookwell" --version)" "$(rustc --version)"
printf 'Runs: %s s each, %s connections, everything on this machine\n\n' "$seconds" "$connections"

all='' sum=0
for ((n = 1; n <= baselines; n++)); do
  sum=$((sum + $(value "verify$n" rate)))
  all+="${all:+, }$(value "verify$n" rate)"
done
row 'verify only (mean), events/s' $((sum / baselines)) '' "runs: $all"
n=0
for store in $stores; do
  n=$((n + 1))
  # The runs just before and just after this store's.
  base=$(reckon %.0f "($(value verify$n rate) + $(value verify$((n + 1)) rate)) / 2")
  echo
  accept=$(value "$store.accept" rate)
  ratio=$(reckon %.3f "$accept / $base")
  judge '>=' "$ratio" "$ACCEPT_BAR"
  row "$store: accepted, broker down, events/s" "$accept" '' "of $base; $(latency "$store.accept")"
  row '  of verify only' "$ratio" ">= $ACCEPT_BAR" "$verdict"
  way=$(value "$store.way" confirmed_rate)
  ratio=$(reckon %.3f "$way / $base")
  judge '>=' "$ratio" "$WAY_BAR"
  row "$store: into quorum queues, events/s" "$way" '' \
    "$(value "$store.way" confirmed) events in $(value "$store.way" confirmed_seconds) s; answered $(value "$store.way" rate)/s"
  row '  of verify only' "$ratio" ">= $WAY_BAR" "$verdict"
  judge '<=' "$(value "$store.half" p99_ms)" "$P99_BAR_MS"
  row "$store: p99 of the answer at half load, ms" "$(value "$store.half" p99_ms)" "<= $P99_BAR_MS" \
    "$verdict ($(value "$store.half" rate)/s; $(latency "$store.half"))"
  row '  memory 3 s after these runs, MiB' "$(value "$store.half" after_mib)" '' ''
  ((million > 0)) || continue
  judge '<=' "$(value "$store.memory" rest_mib)" "$REST_BAR_MIB"
  row "$store: memory at rest, MiB" "$(value "$store.memory" rest_mib)" "<= $REST_BAR_MIB" "$verdict"
  judge '<=' "$(value "$store.memory" waiting_mib)" "$WAITING_BAR_MIB"
  row "  peak, $million waiting, under load" "$(value "$store.memory" waiting_mib)" "<= $WAITING_BAR_MIB" \
    "$verdict (answered $(value "$store.waiting" rate)/s; preloaded straight into the store)"
  judge '<=' "$(value "$store.memory" draining_mib)" "$WAITING_BAR_MIB"
  row '  peak while these drain' "$(value "$store.memory" draining_mib)" "<= $WAITING_BAR_MIB" \
    "$verdict ($(value "$store.drain" drained) events at $(value "$store.drain" drained_rate)/s)"
done

printf '\nCPU ms per 1000 events (other: the kernel, and whatever else runs here)\n'
printf '%-20s %10s %10s %10s %10s %10s\n' run hookwell rabbitmq postgres generator other
cpu_row() {
  printf '%-20s' "$1"
  for part in hookwell rabbitmq postgres generator other; do
    printf ' %10s' "$(value "$1" "cpu_$part" -)"
  done
  echo
}
for ((n = 1; n <= baselines; n++)); do cpu_row "verify$n"; done
for store in $stores; do
  for run in accept way half; do cpu_row "$store.$run"; done
  ((million == 0)) || cpu_row "$store.drain"
done

if [[ -n $profile ]]; then
  for out in "$work"/results/*.perf; do
    printf '\nThe daemon in the run %s, share of its CPU time\n' "$(basename "$out" .perf)"
    # Names of Rust functions are long: the end says less than the beginning.
    perf report -i "$out" --no-children -g none --percent-limit 0.5 --sort comm,symbol --stdio 2>/dev/null \
      | awk '/^ +[0-9]/ && n++ < 30 { line = substr($0, 1, 140); sub(/ +$/, "", line); print line }'
  done
fi

if ((missed > 0)); then
  printf '\n%s of the bars missed\n' "$missed"
  [[ -z $check ]] || exit 1
else
  printf '\nAll bars met\n'
fi
