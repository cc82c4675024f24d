# shellcheck shell=bash disable=SC2154  # the variables of benches/pipeline.sh
# The sections: each drives one kind of load and leaves `name=value` lines in results/RUN. What they
# mean, and whether that is good, is report.sh's.

# More than the fastest server here answers in a second: bodies are signed before the clock starts.
BODIES_PER_SECOND=30000
# Few events are drained so quickly that one round says little.
FEW=10000 ROUNDS=9
# Answers are timed for seconds, so fewer rounds do.
ACCEPT_ROUNDS=3
# Of them those in the middle are measured: connections are warm, and the relay still reads ahead.
MEASURED_FROM=1000 MEASURED_UPTO=9000
# And of the many those behind what a start has to do when so many are there.
MANY_FROM=20000 MANY_UPTO=60000
# How many of the many are drained in one go.
LONG=200000
END_TO_END_RATE=500
# Shares of the peak at which answers are timed.
LEVELS='25 50 75 90'

# measure NAME COMMAND...: runs the load tool and keeps what it says in results/NAME.
profiling=''
measure() {
  local name=$1 out=$work/results/$1 perf_pid=''
  shift
  if [[ -n $profiling ]]; then
    perf record -q -e cpu-clock -F 997 -p "$server_pid" -o "$out.perf" 2>/dev/null &
    perf_pid=$!
  fi
  "$load" "$@" --config "$work/hookwell.toml" >"$out" || { show_log "$work/server.log"; die "the run '$name' broke"; }
  if [[ -n $perf_pid ]]; then
    kill -INT "$perf_pid" 2>/dev/null || true
    wait "$perf_pid" || true
  fi
}
post() {
  local name=$1
  shift
  measure "$name" post --key "$work/key.pem" "$@" "${watch[@]}" --watch "hookwell=$server_pid"
}
# The peak is that of a server that accepts everything.
post_all() {
  post "$@"
  if (($(value "$1" not_accepted 0) + $(value "$1" broken 0) > 0)); then
    die "in the run '$1' not every request was accepted"
  fi
}
# value RUN KEY [DEFAULT]
value() {
  local found
  found=$(sed -n "s/^$2=//p" "$work/results/$1" 2>/dev/null | tail -n 1)
  printf '%s' "${found:-${3-}}"
}
keep_value() { printf '%s=%s\n' "$2" "$3" >>"$work/results/$1"; }
has() { [[ -s $work/results/$1 ]]; }
# status_mib KEY: VmRSS or VmHWM of the server, in MiB.
status_mib() { awk -v key="$1:" '$1 == key { printf "%.1f", $2 / 1024 }' "/proc/$server_pid/status"; }
reckon() { awk "BEGIN { printf \"$1\", $2 }"; }

baselines=0
# verify_only [RUN]: without one it counts as a yardstick.
verify_only() {
  [[ -n ${1-} ]] || baselines=$((baselines + 1))
  note "Verify only, run ${1:-$baselines}"
  configure sqlite://unused.db "$amqp/%2f"
  start_server "$load" verify-only --config "$work/hookwell.toml"
  post_all "${1:-verify$baselines}" --seconds "$seconds" --warm-up 1 --connections "$connections" \
    --bodies "$BODIES_PER_SECOND" --again
  stop_server
}

# accept STORE [RUN]
accept() {
  note "$1: accepting with the broker down"
  fresh_store "$1"
  configure "$store_url" "amqp://guest:guest@127.0.0.1:$dead_port/%2f"
  start_daemon
  post_all "${2:-$1.accept}" --seconds "$seconds" --warm-up 1 --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * (seconds + 1)))
  stop_server
}

# post_way STORE RUN: the peak of a daemon that has just started.
post_way() {
  # Topology and connections are made before the clock starts.
  profiling='' post_all "$1.first" --seconds 1 --connections 1 --bodies 100 --confirmed
  post_all "$2" --seconds "$seconds" --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * seconds)) --confirmed
}

# way STORE [RUN]
way() {
  note "$1: all the way into quorum queues"
  fresh "$1"
  start_daemon
  post_way "$1" "${2:-$1.way}"
  stop_server
  [[ $1 != postgres ]] || dead_rows "${2:-$1.way}"
}

# dead_rows RUN: what vacuum would have to do for the database of a daemon that has ended, and what it did.
dead_rows() {
  local sql="select count(*) from pg_stat_activity where datname = current_database()
               and backend_type = 'client backend' and pid <> pg_backend_pid()"
  # A connection counts what it did when it ends.
  until [[ $("$pg_bin/psql" -qAt "$store_url" -c "$sql") == 0 ]]; do sleep 0.1; done
  sql="select 'dead_log=' || coalesce(sum(n_dead_tup) filter (where log), 0),
              'dead_elsewhere=' || coalesce(sum(n_dead_tup) filter (where not log), 0),
              'autovacuums=' || coalesce(sum(autovacuum_count), 0)
         from (select *, relname like 'events%' or relname like 'event_keys%' as log from pg_stat_user_tables) t"
  "$pg_bin/psql" -qAt -F $'\n' "$store_url" -c "$sql" >>"$work/results/$1"
}

publishers=0
bare_publisher() {
  publishers=$((publishers + 1))
  note "The bare publisher, run $publishers"
  fresh_queues
  configure sqlite://unused.db "$broker_url"
  measure "publisher$publishers" bare-publisher --url "$broker_url" --seconds "$seconds" "${watch[@]}"
}

# preload STORE COUNT: straight into the store, HTTP would take minutes; left as after hours in which as much
# came in, when autovacuum and writeback had their time.
preload() {
  measure "$1.preload" preload --count "$2"
  [[ $1 != postgres ]] || "$pg_bin/psql" -q "$store_url" -c 'vacuum analyze' -c checkpoint
  sync -f "$work"
}

inserts() {
  local kind
  for kind in raw append; do
    note "$1: inserts, $kind"
    fresh_store "$1"
    configure "$store_url" "$amqp/%2f"
    if [[ $kind == raw ]]; then
      measure "$1.raw" inserts --count $((10000 * seconds)) --raw "${watch[@]}"
    else
      measure "$1.append" inserts --count $((10000 * seconds)) "${watch[@]}"
    fi
  done
}

# post_at STORE RUN RATE ARGUMENT...: open loop.
post_at() {
  local run=$2 rate=$3
  shift 3
  post "$run" --seconds "$seconds" --warm-up 1 --connections $((connections * 4)) --rate "$rate" \
    --bodies $((rate * (seconds + 2))) "$@"
}

# post_fresh STORE RUN RATE: into empty queues. Nobody consumes here, and behind a hundred thousand messages a
# queue of RabbitMQ stops now and then for a tenth of a second.
post_fresh() {
  fresh_queues
  configure "$store_url" "$broker_url"
  start_daemon
  profiling='' post_all "$1.first" --seconds 1 --connections 1 --bodies 100 --confirmed
  post_at "$@" --confirmed
  stop_server
}

latency() {
  local store=$1 level rate peak
  fresh "$store"
  start_daemon
  if ! has "$store.way"; then
    note "$store: the peak"
    post_way "$store" "$store.way"
  fi
  peak=$(value "$store.way" confirmed_rate)
  stop_server
  for level in $LEVELS; do
    rate=$(reckon %.0f "$peak * $level / 100")
    note "$store: answers at $rate events/s, $level % of the peak"
    post_fresh "$store" "$store.at$level" "$rate"
  done
  note "$store: end to end at $END_TO_END_RATE events/s"
  post_fresh "$store" "$store.end_to_end" "$END_TO_END_RATE"

  ((million > 0)) || return 0
  rate=$(reckon %.0f "$peak / 2")
  note "$store: answers at $rate events/s while $million waiting events drain"
  fresh "$store"
  preload "$store" "$million"
  start_daemon
  post_at "$store" "$store.draining" "$rate" --backlog
  stop_server
}

# drain_some STORE RUN ARGUMENT...: into fresh queues by a daemon that has just started.
drain_some() {
  local run=$2
  fresh_queues
  configure "$store_url" "$broker_url"
  start_daemon
  shift 2
  measure "$run" drain "$@" "${watch[@]}" --watch "hookwell=$server_pid"
  stop_server
}

# accept_some STORE RUN: with the broker down, by a daemon that has just started; how long that took is kept.
accept_some() {
  local began
  configure "$store_url" "amqp://guest:guest@127.0.0.1:$dead_port/%2f"
  began=$(date +%s%N)
  start_daemon
  keep_value "$2.ready" seconds "$(reckon %.2f "($(date +%s%N) - $began) / 1e9")"
  post_all "$2" --seconds "$seconds" --warm-up 1 --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * (seconds + 1)))
  keep_value "$2.ready" peak_mib "$(status_mib VmHWM)"
  stop_server
}

# Few and many take turns, so that both see the same machine.
drain() {
  local store=$1 round
  ((publishers > 0)) || bare_publisher
  fresh "$store"
  note "$store: appending $waiting events that wait"
  preload "$store" "$waiting"
  kept_url=$store_url
  note "$store: accepting with $FEW and with $waiting waiting, $ACCEPT_ROUNDS times"
  for ((round = 1; round <= ACCEPT_ROUNDS; round++)); do
    fresh_store "$store"
    configure "$store_url" "$broker_url"
    preload "$store" "$FEW"
    accept_some "$store" "$store.accept_few$round"
    store_url=$kept_url
    accept_some "$store" "$store.accept_many$round"
  done
  note "$store: draining $FEW events with $FEW and with $waiting waiting, $ROUNDS times"
  for ((round = 1; round <= ROUNDS; round++)); do
    fresh_store "$store"
    configure "$store_url" "$broker_url"
    preload "$store" "$FEW"
    drain_some "$store" "$store.few$round" --from "$MEASURED_FROM" --count "$MEASURED_UPTO"
    store_url=$kept_url
    drain_some "$store" "$store.many$round" --from "$MANY_FROM" --count "$MANY_UPTO"
  done
  note "$store: draining $LONG of them in one go"
  kept_url=''
  drain_some "$store" "$store.long" --from "$MEASURED_FROM" --count "$LONG"
  bare_publisher
}

memory() {
  local store=$1
  ((million > 0)) || return 0
  note "$store: memory with $million events waiting"
  fresh "$store"
  "$ctl" -q stop_app
  start_daemon
  sleep 3
  keep_value "$store.memory" rest_mib "$(status_mib VmRSS)"
  stop_server
  preload "$store" "$million"
  start_daemon
  post_all "$store.waiting" --seconds "$seconds" --connections "$connections" \
    --bodies $((BODIES_PER_SECOND * seconds))
  keep_value "$store.memory" waiting_mib "$(status_mib VmHWM)"
  # From here on the high-water mark is that of draining.
  echo 5 >"/proc/$server_pid/clear_refs" 2>/dev/null || true
  "$ctl" -q start_app
  measure "$store.drain" drain --count $((million + $(value "$store.waiting" accepted))) \
    "${watch[@]}" --watch "hookwell=$server_pid"
  keep_value "$store.memory" draining_mib "$(status_mib VmHWM)"
  sleep 3
  keep_value "$store.memory" after_mib "$(status_mib VmRSS)"
  stop_server
}

# Runs of its own: sampling costs a little.
profile() {
  profiling=1
  has verify.profile || verify_only verify.profile
  accept "$1" "$1.accept.profile"
  way "$1" "$1.way.profile"
  note "$1: draining $waiting waiting events"
  fresh "$1"
  profiling='' preload "$1" "$waiting"
  start_daemon
  measure "$1.drain.profile" drain --count "$waiting" "${watch[@]}" --watch "hookwell=$server_pid"
  stop_server
  profiling=''
}
