# shellcheck shell=bash disable=SC2154  # the variables of benches/pipeline.sh
# From results/RUN to figures, and from figures to verdicts. What was not measured is not mentioned.

ACCEPT_BAR=0.70 WAY_BAR=0.38 DRAIN_BAR=0.80
P99_BAR_MS=25 DRAINING_BAR=2 END_TO_END_BAR_MS=15
# What only ever grows has nothing to vacuum.
DEAD_BAR=0
# How far rate and CPU time may differ between few and many waiting events.
EVEN_FROM=0.90 EVEN_TO=1.10
REST_BAR_MIB=64 WAITING_BAR_MIB=200
# From the start of the daemon until it takes events, beside many that wait, in seconds.
READY_BAR=5
# Between the runs of a yardstick, in percent.
NOISE_BAR=15

missed=0 verdict='' measured='' base='' publisher=''
# judge OPERATOR VALUE BAR: sets $verdict, and counts.
judge() {
  if awk "BEGIN { exit !($2 $1 $3) }"; then
    verdict=pass
  else
    verdict=MISSED missed=$((missed + 1))
  fi
}
# row NAME FIGURE BAR REMARK
row() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$work/table"; }
# judged NAME FIGURE OPERATOR BAR REMARK
judged() {
  judge "$3" "$2" "$4"
  row "$1" "$2" "$3 $4" "$verdict${5:+ ($5)}"
}
ratio() { reckon %.3f "$1 / ($2 > 0 ? $2 : 1)"; }
latencies() {
  printf 'p50 %s, p90 %s, p99 %s, p99.9 %s, max %s' "$(value "$1" p50_ms)" "$(value "$1" p90_ms)" \
    "$(value "$1" p99_ms)" "$(value "$1" p999_ms)" "$(value "$1" max_ms)"
}
# median NUMBER...
median() {
  printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 }
    END { printf "%.0f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
# spread NUMBER...: largest minus smallest, in percent of the median.
spread() {
  printf '%s\n' "$@" | sort -g | awk -v m="$(median "$@")" '{ v[NR] = $1 } END { printf "%.1f", 100 * (v[NR] - v[1]) / m }'
}
greater() { awk "BEGIN { print ($1 > $2 ? $1 : $2) }"; }
# cpu_per_event RUN: microseconds of daemon, database and broker. (ms per 1000 are µs per event.)
cpu_per_event() {
  reckon %.1f "$(value "$1" cpu_hookwell 0) + $(value "$1" cpu_rabbitmq 0) + $(value "$1" cpu_postgres 0)"
}

# yardstick NAME RUN KEY COUNT: the median of RUN1 to RUNn, in $measured; empty when there is none.
yardstick() {
  local n rates=() noise
  measured=''
  (($4 > 0)) || return 0
  for ((n = 1; n <= $4; n++)); do rates+=("$(value "$2$n" "$3")"); done
  measured=$(median "${rates[@]}") noise=$(spread "${rates[@]}")
  row "$1 (median), events/s" "$measured" '' "runs: ${rates[*]}; noise $noise %"
  if awk "BEGIN { exit !($noise > $NOISE_BAR) }"; then
    row "  noise above $NOISE_BAR %: the verdicts say little" '' '' ''
  fi
}
peak_rows() {
  local store=$1 rate kind name
  if has "$store.accept"; then
    rate=$(value "$store.accept" rate)
    row "$store: accepted, broker down, events/s" "$rate" '' "ms: $(latencies "$store.accept")"
    [[ -z $base ]] || judged '  of verify only' "$(ratio "$rate" "$base")" '>=' "$ACCEPT_BAR" "of $base"
  fi
  for kind in raw append; do
    has "$store.$kind" || continue
    name='plain inserts'
    [[ $kind == raw ]] || name="the daemon's append"
    row "$store: $name, 256 rows a commit, events/s" "$(value "$store.$kind" inserted_rate)" '' ''
    has "$store.accept" || continue
    row "  accepted, of $name" "$(ratio "$(value "$store.accept" rate)" "$(value "$store.$kind" inserted_rate)")" '' ''
  done
  if has "$store.way"; then
    rate=$(value "$store.way" confirmed_rate)
    row "$store: into quorum queues, events/s" "$rate" '' \
      "$(value "$store.way" confirmed) events in $(value "$store.way" confirmed_seconds) s; answered $(value "$store.way" rate)/s"
    [[ -z $base ]] || judged '  of verify only' "$(ratio "$rate" "$base")" '>=' "$WAY_BAR" "of $base"
    [[ -z $publisher ]] || row '  of the bare publisher' "$(ratio "$rate" "$publisher")" '' ''
  fi
  if [[ -n $(value "$store.way" dead_log) ]]; then
    judged "$store: dead rows in the log and its keys after that" "$(value "$store.way" dead_log)" '<=' "$DEAD_BAR" \
      "elsewhere $(value "$store.way" dead_elsewhere); autovacuum ran $(value "$store.way" autovacuums) times"
  fi
}
latency_rows() {
  local store=$1 level run alone left
  for level in $LEVELS; do
    run=$store.at$level
    has "$run" || return 0
    if ((level == 50)); then
      judged "$store: p99 of the answer at $level % of the peak, ms" "$(value "$run" p99_ms)" '<=' "$P99_BAR_MS" \
        "$(value "$run" rate)/s; $(latencies "$run")$(unaccepted "$run")"
    else
      row "$store: p99 of the answer at $level % of the peak, ms" "$(value "$run" p99_ms)" '' \
        "$(value "$run" rate)/s; $(latencies "$run")$(unaccepted "$run")"
    fi
  done
  run=$store.end_to_end
  judged "$store: end to end at $END_TO_END_RATE/s, p50, ms" "$(value "$run" end_to_end_p50_ms)" '<=' "$END_TO_END_BAR_MS" \
    "p99 $(value "$run" end_to_end_p99_ms); request read to confirm, from the daemon's histogram$(unaccepted "$run")"
  run=$store.draining
  has "$run" || return 0
  alone=$(value "$store.at50" p99_ms) left=$(value "$run" backlog_left)
  row "$store: p99 at 50 % while a backlog drains, ms" "$(value "$run" p99_ms)" '' \
    "$(value "$run" rate)/s; $(latencies "$run"); $million waiting at first, $left at the end$(unaccepted "$run")"
  if ((left > 0)); then
    judged '  of that alone' "$(ratio "$(value "$run" p99_ms)" "$alone")" '<=' "$DRAINING_BAR"
  else
    row '  of that alone' "$(ratio "$(value "$run" p99_ms)" "$alone")" "<= $DRAINING_BAR" \
      'not judged: the backlog was gone first; more --million or fewer --seconds'
  fi
}
unaccepted() {
  local count=$(($(value "$1" not_accepted 0) + $(value "$1" broken 0)))
  ((count == 0)) || printf '; %s NOT ACCEPTED' "$count"
}
# pace STORE KIND ROUNDS RATE: medians of the rounds, in $rate and $cpu, and what to say of them in $remark.
pace() {
  local round rates=() cpus=()
  for ((round = 1; round <= $3; round++)); do
    rates+=("$(value "$1.$2$round" "$4")")
    cpus+=("$(cpu_per_event "$1.$2$round")")
  done
  rate=$(median "${rates[@]}") cpu=$(median "${cpus[@]}")
  remark="median; runs: ${rates[*]}; noise $(spread "${rates[@]}") %"
}
drain_rows() {
  local store=$1 rate cpu remark few_rate few_cpu long
  has "$store.long" || return 0
  pace "$store" few "$ROUNDS" drained_rate
  few_rate=$rate few_cpu=$cpu
  row "$store: draining $FEW of $FEW, events/s" "$rate" '' "$remark"
  pace "$store" many "$ROUNDS" drained_rate
  row "$store: draining $FEW of $waiting, events/s" "$rate" '' "$remark"
  even '  of the rate with few' "$(ratio "$rate" "$few_rate")"
  even '  of the CPU time with few' "$(ratio "$cpu" "$few_cpu")" \
    "µs an event, daemon, database and broker, medians: $few_cpu with few, $cpu with many"
  long=$(value "$store.long" drained_rate)
  row "$store: draining in one go, events/s" "$long" '' \
    "$(value "$store.long" drained) events in $(value "$store.long" drained_seconds) s"
  judged '  of the bare publisher' "$(ratio "$long" "$publisher")" '>=' "$DRAIN_BAR" "of $publisher"
}
# Accepting beside few and beside many that wait, and what a start beside many takes.
beside_rows() {
  local store=$1 rate cpu remark few_rate few_cpu round slowest=0 most=0
  has "$store.accept_many1" || return 0
  pace "$store" accept_few "$ACCEPT_ROUNDS" rate
  few_rate=$rate few_cpu=$cpu
  row "$store: accepted with $FEW waiting, events/s" "$rate" '' "$remark"
  pace "$store" accept_many "$ACCEPT_ROUNDS" rate
  row "$store: accepted with $waiting waiting, events/s" "$rate" '' "$remark"
  even '  of the rate with few' "$(ratio "$rate" "$few_rate")"
  even '  of the CPU time with few' "$(ratio "$cpu" "$few_cpu")" "µs an event, medians: $few_cpu with few, $cpu with many"
  for ((round = 1; round <= ACCEPT_ROUNDS; round++)); do
    slowest=$(greater "$slowest" "$(value "$store.accept_many$round.ready" seconds)")
    most=$(greater "$most" "$(value "$store.accept_many$round.ready" peak_mib)")
  done
  judged "$store: start to ready with $waiting waiting, s" "$slowest" '<=' "$READY_BAR" 'the slowest'
  judged "$store: peak of memory meanwhile, MiB" "$most" '<=' "$WAITING_BAR_MIB" ''
}
# even NAME RATIO REMARK
even() {
  judge '>=' "$2" "$EVEN_FROM"
  [[ $verdict == MISSED ]] || judge '<=' "$2" "$EVEN_TO"
  row "$1" "$2" "$EVEN_FROM to $EVEN_TO" "$verdict${3:+ ($3)}"
}
memory_rows() {
  local store=$1
  has "$store.drain" || return 0
  judged "$store: memory at rest, MiB" "$(value "$store.memory" rest_mib)" '<=' "$REST_BAR_MIB"
  judged "  peak, $million waiting, under load, MiB" "$(value "$store.memory" waiting_mib)" '<=' "$WAITING_BAR_MIB" \
    "answered $(value "$store.waiting" rate)/s; preloaded straight into the store"
  judged '  peak while these drain, MiB' "$(value "$store.memory" draining_mib)" '<=' "$WAITING_BAR_MIB" \
    "$(value "$store.drain" drained) events at $(value "$store.drain" drained_rate)/s"
  row '  3 s later, MiB' "$(value "$store.memory" after_mib)" '' ''
}

# CPU time of every run, by process.
cpu_table() {
  local out run part
  printf '\nCPU time, µs an event (other: the kernel, and whatever else runs here)\n'
  printf '%-24s %10s %10s %10s %10s %10s\n' run hookwell rabbitmq postgres generator other
  for out in "$work"/results/*; do
    run=${out##*/}
    grep -qs '^cpu_' "$out" || continue
    [[ $run != *.first ]] || continue
    printf '%-24s' "$run"
    for part in hookwell rabbitmq postgres generator other; do
      printf ' %10s' "$(value "$run" "cpu_$part" -)"
    done
    echo
  done
}

# Where the servers' CPU time went, and the symbols that took most of it: into results/RUN.components.
components() {
  local perf run
  for perf in "$work"/results/*.perf; do
    [[ -e $perf ]] || return 0
    run=${perf%.perf}
    perf script -i "$perf" -F comm,ip,sym,dso 2>/dev/null \
      | awk -v cpu="$(value "${run##*/}" cpu_hookwell 0)" -f benches/pipeline/components.awk >"$run.components"
  done
}
profile_symbols() {
  local out
  for out in "$work"/results/*.components; do
    [[ -e $out ]] || return 0
    printf '\nWhat took most in the run %s, µs an event\n' "$(basename "$out" .profile.components)"
    sed '1,/^$/d' "$out"
  done
}
# One column for each run.
profile_table() {
  local columns=("$work"/results/*.components)
  [[ -e ${columns[0]} ]] || return 0
  awk '
    FNR == 1 { run = FILENAME; sub(/.*\//, "", run); sub(/\.profile\.components$/, "", run); runs[++n] = run; over = 0 }
    /^$/ { over = 1 }
    over { next }
    { part = substr($0, 1, 24); sub(/ +$/, "", part); if (n == 1) parts[++m] = part; took[part, run] = $(NF - 2); sum[run] += $(NF - 2) }
    END {
      printf "\n%-24s", "CPU time, µs an event"; for (i = 1; i <= n; i++) printf " %16s", runs[i]; print ""
      printf "%-24s", "all of the server"; for (i = 1; i <= n; i++) printf " %16.1f", sum[runs[i]]; print ""
      for (j = 1; j <= m; j++) {
        printf "%-24s", parts[j]; for (i = 1; i <= n; i++) printf " %16.2f", took[parts[j], runs[i]]; print ""
      }
    }' "${columns[@]}"
}

conditions() {
  printf 'Machine: %s cores, %s, Linux %s, %s GiB; load before: %s\n' "$(nproc)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$load_before"
  printf 'Disk: file system %s, 4 KiB made durable in %s ms (p50), %s ms (p99)\n' "$(stat -f -c %T "$work")" \
    "$(value disk fsync_p50_ms)" "$(value disk fsync_p99_ms)"
  printf 'Servers: RabbitMQ %s, %s\n' "$rabbitmq_version" "$postgres_version"
  printf 'Build: %s, %s\n' "$("$hookwell" --version)" "$(rustc --version)"
  printf 'Command: %s\n' "$command_line"
  printf 'Runs: %s s each, %s connections, everything on this machine\n' "$seconds" "$connections"
}

make_table() {
  local store
  : >"$work/table"
  yardstick 'verify only' verify rate "$baselines"
  base=$measured
  yardstick 'bare publisher' publisher confirmed_rate "$publishers"
  publisher=$measured
  for store in $stores; do
    peak_rows "$store"
    latency_rows "$store"
    beside_rows "$store"
    drain_rows "$store"
    memory_rows "$store"
  done
}
report() {
  printf '\n'
  conditions
  printf '\n'
  awk -F '\t' '{ printf "%-58s %10s  %-14s %s\n", $1, $2, $3, $4 }' "$work/table"
  cpu_table
  components
  profile_table
  profile_symbols
  if ((missed > 0)); then
    printf '\n%s of the bars missed\n' "$missed"
  else
    printf '\nNo bar missed\n'
  fi
}

# Adds one run to $results_file.
append_results() {
  {
    printf '\n## %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
    conditions | sed 's/^/- /'
    if [[ -s $work/table ]]; then
      printf '\n| | figure | bar | |\n|---|---|---|---|\n'
      awk -F '\t' '{ sub(/^  /, "— ", $1); printf "| %s | %s | %s | %s |\n", $1, $2, $3, $4 }' "$work/table"
    fi
    printf '\n```text'
    cpu_table
    profile_table
    printf '```\n'
  } >>"$results_file"
  note "Added to $results_file"
}
