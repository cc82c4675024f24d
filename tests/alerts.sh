#!/usr/bin/env bash
# Makes every alert of deploy/observe/alerts.yaml fire by its real condition, and
# end when that is undone.
#
#   bash tests/alerts.sh BINARY               all of them
#   bash tests/alerts.sh --only NAME BINARY   this one (may be repeated)
#   bash tests/alerts.sh --list               their names
#
# Daemons of BINARY on private servers, with RabbitMQ that is stopped, blocked, cut
# off or has a full queue, a Postgres that hangs, is locked or was changed by hand,
# disks that are full, senders that forge, GHL (`hookwell dev ghl`) that fails; and a
# real Prometheus that scrapes them every second. It loads alerts.yaml with shorter
# times: what was made shorter is printed for each alert, and nothing else of an
# expression is changed. Where hours would have to pass, times in the store are
# moved back instead. An alert has to fire with its labels, texts that rendered and
# a heading in the runbook, and then to end. One line each:
#
#   fired HookwellX after N s, resolved after M s
#
# Before that, promtool runs the rules against the made-up series of alerts_test.yaml.
# Fails when one did not. Takes three minutes. Wants root, for small disks of its own. Installs what is
# missing with apt-get; no service of a package is started. Leaves nothing behind.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rules=$root/deploy/observe/alerts.yaml
runbook=$root/deploy/RUNBOOK.md
mapfile -t all < <(sed -n 's/^ *- alert: //p' "$rules")
# shellcheck source=deploy/services.sh
. "$root/deploy/services.sh"

only=()
while [[ ${1-} == -* ]]; do
  case $1 in
    --only) only+=("${2:?--only needs the name of an alert}"); shift ;;
    --list) printf '%s\n' "${all[@]}"; exit 0 ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) complain "unknown option '$1'; try --help"; exit 64 ;;
  esac
  shift
done
if (($# != 1)); then
  complain 'name one binary of hookwell; try --help'
  exit 64
fi
hookwell=$(realpath -- "$1")
[[ -x $hookwell ]] || { complain "$hookwell is not there, or cannot be run"; exit 66; }
for name in "${only[@]}"; do
  [[ " ${all[*]} " == *" $name "* ]] || { complain "there is no alert '$name'; try --list"; exit 64; }
done
# Settings of this shell are not what is tried.
for name in "${!HOOKWELL_@}"; do unset "$name"; done
PATH=$PATH:/usr/sbin:/sbin

APP_ID=65f0c0ffee65f0c0ffee65f0
OTHER_APP_ID=65f0c0ffee65f0c0ffee65f1
# How long an alert may take to fire, and to end, whatever else runs on this machine.
PATIENCE=90

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-alerts.XXXXXX")
# Root runs Postgres as another user, who must be able to pass through here.
chmod 711 "$work"
mkdir "$work/targets" "$work/results"
: >"$work/results/expected"
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  local code=$? kind what pid since folder
  trap - EXIT INT TERM HUP
  # Whatever goes wrong here, the rest is still ended.
  set +eu
  # The end of a group is no news.
  disown -a
  # Groups first: they start things.
  for kind in group other; do
    while read -r what pid since; do
      [[ $what == "$kind" ]] || continue
      if [[ $kind == group ]] && is_alive "$pid" "$since"; then end_tree "$pid"; fi
      end_process "$pid" "$since" KILL 5 || true
    done <"$work/running"
  done
  for folder in "$work"/postgres*; do
    [[ ! -e $folder/env ]] || signal_postgres "$folder" CONT || true
  done
  for folder in "$work"/postgres* "$work"/rabbitmq*; do stop_service "$folder" at-once || true; done
  for folder in "$work"/disk-*; do
    [[ ! -d $folder ]] || ! mountpoint -q "$folder" || umount "$folder" || umount -l "$folder" || true
  done
  remove_service "$work"
  exit "$code"
}
: >"$work/running"
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
  complain "$1"
  shift
  show_log "$@"
  exit 1
}

# --- processes ------------------------------------------------------------------

# children PID: their pids, a line each.
children() {
  local stat fields
  for stat in /proc/[0-9]*/stat; do
    { fields=$(<"$stat"); } 2>/dev/null || continue
    read -ra fields <<<"${fields##*) }"
    # Of one that has just ended there may be nothing.
    [[ ${fields[1]-} != "$1" ]] || { stat=${stat%/stat} && printf '%s\n' "${stat##*/}"; }
  done
}

# end_tree PID: a part of this script with whatever it waits for.
end_tree() {
  local child
  kill -s STOP "$1" 2>/dev/null || return 0
  for child in $(children "$1"); do end_tree "$child"; done
  kill -s KILL "$1" 2>/dev/null || true
}

# start NAME COMMAND...: its output is in $work/log/NAME.log. Of one name there is one at a time.
start() {
  local name=$1 pid since
  shift
  launch "$work/log/$name.pid" "$work/log/$name.log" "$@" || return 1
  pid=$(<"$work/log/$name.pid")
  since=$(process_started "$pid") || { complain "$name ended at once"; show_log "$work/log/$name.log"; return 1; }
  printf 'other %s %s\n' "$pid" "$since" >>"$work/running"
  printf '%s %s\n' "$pid" "$since" >"$work/log/$name.is"
}

# end NAME [SIGNAL]
end() {
  local pid since
  [[ -e $work/log/$1.is ]] || return 0
  read -r pid since <"$work/log/$1.is"
  end_process "$pid" "$since" "${2-TERM}" 10
}

# until_true SECONDS COMMAND...
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

ask() { "$python" "$root/tests/alerts/ask.py" "$@"; }

# --- daemons ----------------------------------------------------------------------

declare -A http_port admin_port
port='' prometheus_port='' gate_port='' ghl_port=''

# configure NAME STORE-URL BROKER-URL: the rest of the file is read, from more of the app on.
configure() {
  local rest
  rest=$(cat)
  mkdir -p "$work/$1"
  cat >"$work/$1/hookwell.toml" <<TOML
[http]
listen = "127.0.0.1:${http_port[$1]}"
${http_more-}

[admin]
listen = "127.0.0.1:${admin_port[$1]}"

[store]
url = "$2"
${store_more-}

[broker]
url = "$3"
retry_max = "1s"

[signature]
ed25519_keys = ["""
$(<"$work/dev-key.pem.pub")
"""]

[log]
format = "json"

[[apps]]
id = "$APP_ID"
path = "/webhooks/ghl"
$rest
TOML
}

ready() { [[ $(http_status "${admin_port[$1]}" /readyz) == 200 ]]; }
metric() { ask value "http://127.0.0.1:${admin_port[$1]}" "$2"; }
metric_is() { [[ $(metric "$1" "$2" 2>/dev/null) == "$3" ]]; }
instance() { printf 'instance=127.0.0.1:%s' "${admin_port[$1]}"; }

# serve NAME [COMMAND...]: starts the daemon, under a command if there is one, and waits until it takes webhooks.
serve() {
  local name=$1
  shift
  start "$name" "$@" "$hookwell" serve -c "$work/$name/hookwell.toml" || return 1
  until_true 60 ready "$name" || { complain "$name is not ready"; show_log "$work/log/$name.log"; return 1; }
}

# scrape NAME JOB: has Prometheus look at it.
scrape() {
  printf '[{"targets": ["127.0.0.1:%s"], "labels": {"job": "%s"}}]\n' "${admin_port[$1]}" "$2" >"$work/targets/$1.new"
  mv "$work/targets/$1.new" "$work/targets/$1.json"
  ask seen "$prometheus" 30 "job=$2" "$(instance "$1")"
}

# retire NAME...: ends daemons that are not needed any more, and has nobody look for them.
retire() {
  local name
  for name; do rm -f "$work/targets/$name.json"; done
  for name; do
    ask gone "$prometheus" 30 "$(instance "$name")"
    end "$name"
  done
}

relaying() { metric_is "$1" hookwell_relay_active 1; }

# send NAME TYPE ARGUMENTS...: webhooks to that daemon, signed. That some are refused is no failure.
send() { "$hookwell" send -c "$work/$1/hookwell.toml" --key "$work/dev-key.pem" "${@:2}" >>"$work/log/send.log" 2>&1 || true; }

# load ID CONFIGURATION KEY RATE: the same until `end ID`.
load() { start "$1" "$hookwell" send ContactCreate -c "$work/$2" --key "$work/$3.pem" --count 1000000 --rate "$4"; }

sql() { "$(service_value "$work/$1" PG_BIN)/psql" "$(service_value "$work/$1" PG_URL)" -qAtX -v ON_ERROR_STOP=1 -c "$2" >>"$work/log/sql.log" 2>&1; }
lite() { sqlite3 -cmd '.timeout 10000' "$work/$1/hookwell.db" "$2" >>"$work/log/sql.log" 2>&1; }

# signal_postgres FOLDER SIGNAL: to the server and everybody who works for it.
signal_postgres() {
  local pid child
  pid=$(service_value "$1" PG_PID)
  is_alive "$pid" "$(service_value "$1" PG_STARTED)" || return 0
  kill -s "$2" "$pid"
  for child in $(children "$pid"); do kill -s "$2" "$child" 2>/dev/null || true; done
}

# vhost RABBITMQ NAME: prints the URL of a new virtual host.
vhost() {
  local ctl url
  ctl=$(service_value "$work/$1" RABBITMQCTL)
  url=$(service_value "$work/$1" AMQP_URL)
  "$ctl" -q add_vhost "$2" >&2 && "$ctl" -q set_permissions -p "$2" guest '.*' '.*' '.*' >&2
  printf '%s/%s\n' "${url%/*}" "$2"
}

# --- alerts -------------------------------------------------------------------------

job=''
declare -A began undone
# Groups of alerts, whose daemons share nothing.
declare -A alerts_of

wanted() {
  local name
  ((${#only[@]})) || return 0
  for name; do [[ " ${only[*]} " != *" $name "* ]] || return 0; done
  return 1
}

say() { printf '%s\n' "$*"; }

# failed NAME WHY
failed() {
  : >"$work/results/$1.$job.failed"
  say "FAILED $1${job:+ at $job}: $2"
}

# In the job of this group, or in any where it has none.
of_job() { [[ -z $job ]] || printf 'job=%s' "$job"; }

# begin NAME...: the next command causes these. None of them may be there before.
begin() {
  local name problem
  for name; do
    wanted "$name" || continue
    # shellcheck disable=SC2046
    problem=$(ask quiet "$prometheus" 30 "$name" $(of_job) 2>&1) || failed "$name" "there already before its cause: $problem"
    began[$name]=${EPOCHREALTIME/./}
  done
}

seconds_since() {
  local tenths=$(((${EPOCHREALTIME/./} - $1) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# fires NAME LABEL=VALUE...: beside those that it has from its rule. (job= is added.)
fires() {
  local name=$1 summary
  shift
  wanted "$name" || return 0
  # shellcheck disable=SC2046  # one word or none
  if summary=$(ask fires "$prometheus" "$PATIENCE" "$name" "$runbook" $(of_job) "$@" 2>&1); then
    seconds_since "${began[$name]}" >"$work/results/$name.$job.fired"
    printf '%s\n' "$summary" >"$work/results/$name.$job.summary"
    printf '%s %s\n' "${job:--}" "$name" >>"$work/results/expected"
  else
    failed "$name" "$summary"
  fi
}

# undo NAME...: the next command takes the cause of these away.
undo() {
  local name
  for name; do undone[$name]=${EPOCHREALTIME/./}; done
}

# resolves NAME
resolves() {
  local name=$1 problem result=$work/results/$1.$job
  wanted "$name" || return 0
  # shellcheck disable=SC2046
  if ! problem=$(ask quiet "$prometheus" "$PATIENCE" "$name" $(of_job) 2>&1); then
    failed "$name" "$problem"
  elif [[ -e $result.fired && ! -e $result.failed ]]; then
    say "fired $name after $(<"$result.fired") s, resolved after $(seconds_since "${undone[$name]}") s"
    say "      $(<"$result.summary")"
    : >"$result.ok"
  fi
}

# --- two daemons on one Postgres ------------------------------------------------------

alerts_of[main]='HookwellSlowAnswers HookwellStoreDown HookwellCommitErrors HookwellOverloaded HookwellLedgerMismatch HookwellBacklogOld
HookwellBrokerBlocked HookwellBrokerDown HookwellNobodyRelays HookwellBrokerDownHere HookwellDown HookwellRestarting HookwellAllDown'
main_group() {
  local broker ctl
  job=hookwell
  ctl=$(service_value "$work/rabbitmq-main" RABBITMQCTL)
  broker=$(service_value "$work/rabbitmq-main" AMQP_URL)
  configure first "$(service_value "$work/postgres-main" PG_URL)" "$broker" </dev/null
  gate_up
  configure second "$(service_value "$work/postgres-main" PG_URL)" "amqp://guest:guest@127.0.0.1:$gate_port/%2f" </dev/null
  serve first && until_true 30 relaying first || return
  serve second && until_true 30 metric_is second hookwell_broker_connected 1 || return
  scrape first "$job" && scrape second "$job" || return

  if wanted HookwellSlowAnswers; then
    begin HookwellSlowAnswers
    # Somebody's session locks the head of the log, most of the time.
    start locker bash -c "while :; do '$(service_value "$work/postgres-main" PG_BIN)/psql' '$(service_value "$work/postgres-main" PG_URL)' -qAtX \
      -c 'begin' -c 'select position from log_head for update' -c 'select pg_sleep(2)' -c 'commit'; sleep 0.2; done"
    load slow first/hookwell.toml dev-key 8
    fires HookwellSlowAnswers "$(instance first)"
    undo HookwellSlowAnswers
    end locker KILL
    sql postgres-main "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(2)%' and pid <> pg_backend_pid()"
    resolves HookwellSlowAnswers
    end slow
  fi

  if wanted HookwellStoreDown HookwellCommitErrors HookwellOverloaded; then
    load lost first/hookwell.toml dev-key 8
    begin HookwellStoreDown HookwellCommitErrors HookwellOverloaded
    signal_postgres "$work/postgres-main" STOP
    fires HookwellStoreDown "$(instance first)"
    fires HookwellCommitErrors "$(instance first)"
    fires HookwellOverloaded
    undo HookwellStoreDown HookwellCommitErrors HookwellOverloaded
    signal_postgres "$work/postgres-main" CONT
    resolves HookwellStoreDown
    resolves HookwellCommitErrors
    resolves HookwellOverloaded
    end lost
    until_true 60 relays_somewhere
  fi

  if wanted HookwellLedgerMismatch; then
    begin HookwellLedgerMismatch
    sql postgres-main "update cursors set published = published + 2 where reader = 'relay'"
    fires HookwellLedgerMismatch
    undo HookwellLedgerMismatch
    sql postgres-main "update cursors set published = published - 2 where reader = 'relay'"
    resolves HookwellLedgerMismatch
  fi

  if wanted HookwellBrokerBlocked HookwellBacklogOld; then
    begin HookwellBrokerBlocked HookwellBacklogOld
    "$ctl" -q set_vm_memory_high_watermark 0
    send first ContactCreate --count 3
    # Five minutes pass.
    sql postgres-main "update events set received_at = received_at - 301000000 where position > (select position from cursors where reader = 'relay')"
    fires HookwellBrokerBlocked
    fires HookwellBacklogOld
    undo HookwellBrokerBlocked HookwellBacklogOld
    "$ctl" -q set_vm_memory_high_watermark 0.4
    resolves HookwellBrokerBlocked
    resolves HookwellBacklogOld
  fi

  if wanted HookwellBrokerDown; then
    begin HookwellBrokerDown
    "$ctl" -q stop_app
    fires HookwellBrokerDown
    undo HookwellBrokerDown
    "$ctl" -q start_app
    resolves HookwellBrokerDown
    until_true 60 relays_somewhere
    until_true 60 metric_is second hookwell_broker_connected 1
  fi

  if wanted HookwellBrokerDownHere; then
    begin HookwellBrokerDownHere
    end gate KILL
    fires HookwellBrokerDownHere "$(instance second)"
    undo HookwellBrokerDownHere
    gate_up
    resolves HookwellBrokerDownHere
  fi

  if wanted HookwellNobodyRelays; then
    begin HookwellNobodyRelays
    # A daemon that was forgotten holds the relay's place: it waits for it, and gets it when the session of the one who has it ends.
    start usurper "$(service_value "$work/postgres-main" PG_BIN)/psql" "$(service_value "$work/postgres-main" PG_URL)" -qAtX \
      -c 'select pg_advisory_lock(1751873388, 1)' -c 'select pg_sleep(600)'
    sleep 0.5
    end_relay
    fires HookwellNobodyRelays
    undo HookwellNobodyRelays
    # As the runbook says.
    end_relay
    resolves HookwellNobodyRelays
    end usurper KILL
  fi

  if wanted HookwellDown; then
    begin HookwellDown
    end second KILL
    fires HookwellDown "$(instance second)"
    undo HookwellDown
    serve second
    resolves HookwellDown
  fi

  if wanted HookwellRestarting; then
    begin HookwellRestarting
    # Each time it lives long enough for a look of Prometheus.
    for _ in 1 2 3 4 5 6 7 8; do
      end second KILL
      serve second || return
      sleep 1.2
    done
    fires HookwellRestarting "$(instance second)"
    undo HookwellRestarting
    resolves HookwellRestarting
  fi

  if wanted HookwellAllDown; then
    begin HookwellAllDown
    end first KILL
    end second KILL
    fires HookwellAllDown
    undo HookwellAllDown
    serve second
    resolves HookwellAllDown
  fi
  retire first second
  end gate
}

gate_up() { start gate "$python" "$root/tests/alerts/net.py" gate "$gate_port" "$(service_value "$work/rabbitmq-main" AMQP_PORT)"; }
relays_somewhere() { relaying first || relaying second; }
# The session that holds the relay's lock.
end_relay() {
  sql postgres-main "select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.classid = 1751873388 and l.objid = 1 and l.granted"
}

# --- the public listener, and GHL's rule ------------------------------------------------

alerts_of[door]='HookwellSignaturesWrong HookwellUnsignedRequests HookwellUnknownApp HookwellQuarantineDropping HookwellPauseNear HookwellAnswersFailing'
door_group() {
  job='hookwell-door'
  configure door "sqlite://$work/door/hookwell.db" "$(vhost rabbitmq door)" </dev/null
  sed "s/$APP_ID/$OTHER_APP_ID/" "$work/door/hookwell.toml" >"$work/door/other-app.toml"
  serve door && scrape door "$job" || return
  load genuine door/hookwell.toml dev-key 10

  # An outage of yesterday, as the store has it: of 9,400 webhooks 400 failed.
  local yesterday="strftime('%s', 'now') / 3600 - 24"
  if wanted HookwellAnswersFailing; then
    begin HookwellAnswersFailing
    lite door "insert into webhook_answers (hour, ok, failed) values ($yesterday, 9000, 400)"
    fires HookwellAnswersFailing
    undo HookwellAnswersFailing
    # Two more days pass.
    lite door "update webhook_answers set hour = hour - 49 where hour < strftime('%s', 'now') / 3600 - 12"
    resolves HookwellAnswersFailing
  fi

  begin HookwellSignaturesWrong HookwellQuarantineDropping HookwellUnsignedRequests HookwellUnknownApp HookwellPauseNear
  load forged door/hookwell.toml other-key 40
  start unsigned "$python" "$root/tests/alerts/net.py" unsigned "http://127.0.0.1:${http_port[door]}/webhooks/ghl" 40
  load unknown door/other-app.toml dev-key 5
  # What came before was answered, and enough of it for GHL's rule; but an hour of it was not.
  lite door "insert into webhook_answers (hour, ok, failed) values ($yesterday, 9000, 1500)"
  fires HookwellSignaturesWrong reason=signature_wrong
  fires HookwellQuarantineDropping
  fires HookwellUnsignedRequests
  fires HookwellUnknownApp
  fires HookwellPauseNear
  undo HookwellSignaturesWrong HookwellQuarantineDropping HookwellUnsignedRequests HookwellUnknownApp HookwellPauseNear
  end forged KILL
  end unsigned KILL
  end unknown KILL
  resolves HookwellSignaturesWrong
  resolves HookwellQuarantineDropping
  resolves HookwellUnsignedRequests
  resolves HookwellUnknownApp
  resolves HookwellPauseNear
  end genuine
  retire door
}

# --- connections and descriptors ----------------------------------------------------------

alerts_of[doors]='HookwellConnectionsRefused HookwellDescriptorsLow HookwellAcceptErrors'
doors_group() {
  local open
  if wanted HookwellConnectionsRefused; then
    job='hookwell-cap'
    http_more='max_connections = 20' configure cap "sqlite://$work/cap/hookwell.db" "$(vhost rabbitmq cap)" </dev/null
    serve cap && scrape cap "$job" || return
    begin HookwellConnectionsRefused
    start crowd "$python" "$root/tests/alerts/net.py" hold "${http_port[cap]}" 30
    fires HookwellConnectionsRefused "$(instance cap)"
    undo HookwellConnectionsRefused
    end crowd KILL
    resolves HookwellConnectionsRefused
    retire cap
  fi

  wanted HookwellDescriptorsLow HookwellAcceptErrors || return 0
  job='hookwell-fds'
  # A connection without a request is closed after header_timeout, and the crowd comes back.
  configure fds "sqlite://$work/fds/hookwell.db" "$(vhost rabbitmq fds)" </dev/null
  serve fds prlimit --nofile=120 && scrape fds "$job" || return
  if wanted HookwellDescriptorsLow; then
    open=$(metric fds process_open_fds)
    begin HookwellDescriptorsLow
    start crowd-of-some "$python" "$root/tests/alerts/net.py" hold "${http_port[fds]}" $((120 * 88 / 100 - open))
    fires HookwellDescriptorsLow "$(instance fds)"
    undo HookwellDescriptorsLow
    end crowd-of-some KILL
    resolves HookwellDescriptorsLow
  fi
  if wanted HookwellAcceptErrors; then
    begin HookwellAcceptErrors
    start crowd-of-many "$python" "$root/tests/alerts/net.py" hold "${http_port[fds]}" 300
    fires HookwellAcceptErrors "$(instance fds)"
    undo HookwellAcceptErrors
    end crowd-of-many KILL
    resolves HookwellAcceptErrors
  fi
  retire fds
}

# --- disks ------------------------------------------------------------------------------------

alerts_of[disks]='HookwellDiskFilling HookwellDiskReserve HookwellDiskLow HookwellCommitErrors'
# disk NAME MEGABYTES RESERVE: a file system of that size, with a daemon on it that keeps so much of it.
disk() {
  local problem
  mkdir "$work/disk-$1"
  problem=$(mount -t tmpfs -o "size=$2m" hookwell-alerts "$work/disk-$1" 2>&1) || { say "$problem"; return 1; }
  job="hookwell-$1"
  store_more="disk_reserve = \"$3\"" configure "$1" "sqlite://$work/disk-$1/hookwell.db" "$(vhost rabbitmq "$1")" </dev/null
  serve "$1" && scrape "$1" "$job"
}

disks_group() {
  if wanted HookwellDiskFilling HookwellDiskReserve; then
    if disk roomy 1200 256MiB; then
      begin HookwellDiskFilling
      fallocate -l 300M "$work/disk-roomy/filler"
      fires HookwellDiskFilling "$(instance roomy)"
      begin HookwellDiskReserve
      fallocate -l 680M "$work/disk-roomy/more"
      fires HookwellDiskReserve "$(instance roomy)"
      undo HookwellDiskFilling HookwellDiskReserve
      rm "$work/disk-roomy/filler" "$work/disk-roomy/more"
      resolves HookwellDiskReserve
      resolves HookwellDiskFilling
      retire roomy
    else
      failed HookwellDiskFilling 'no disk of its own can be made here; it wants root with the right to mount'
    fi
  fi
  if wanted HookwellDiskLow HookwellCommitErrors; then
    if disk small 64 0; then
      begin HookwellDiskLow
      fallocate -l 56M "$work/disk-small/filler"
      fires HookwellDiskLow "$(instance small)"
      begin HookwellCommitErrors
      # The rest of it, to the last byte.
      cat /dev/zero >"$work/disk-small/more" 2>>"$work/log/ctl.log"
      load small-load small/hookwell.toml dev-key 5
      fires HookwellCommitErrors "$(instance small)"
      undo HookwellDiskLow HookwellCommitErrors
      rm "$work/disk-small/filler" "$work/disk-small/more"
      resolves HookwellDiskLow
      resolves HookwellCommitErrors
      end small-load
      retire small
    else
      wanted HookwellDiskLow && failed HookwellDiskLow 'no disk of its own can be made here; it wants root with the right to mount'
    fi
  fi
}

# --- what RabbitMQ does not take ---------------------------------------------------------------

alerts_of[out]='HookwellTenantsHeld HookwellUnroutable HookwellDeadLetters HookwellTwoRelay HookwellBacklogOld'
out_group() {
  local ctl broker
  job='hookwell-out'
  ctl=$(service_value "$work/rabbitmq" RABBITMQCTL)
  broker=$(vhost rabbitmq out)
  configure out "sqlite://$work/out/hookwell.db" "$broker" <<'TOML'

[[broker.queues]]
name = "hookwell.contacts"
bind = ["contact.#"]
kind = "classic"

[[broker.queues]]
name = "hookwell.full"
bind = ["contact.create.fullTenant"]
kind = "classic"
arguments = { x-max-length = 1, x-overflow = "reject-publish" }
TOML
  serve out && until_true 30 relaying out && scrape out "$job" || return
  # Others go on meanwhile: only then it is the affair of one tenant.
  load others out/hookwell.toml dev-key 5

  if wanted HookwellTenantsHeld HookwellBacklogOld; then
    begin HookwellTenantsHeld
    send out ContactCreate --tenant fullTenant --count 4
    fires HookwellTenantsHeld
    if wanted HookwellBacklogOld; then
      until_true 60 metric_is out hookwell_held_tenants 1
      # Five minutes later the queue of all the others takes nothing either.
      lite out 'update events set received_at = received_at - 301000000 where position in (select position from held_events)'
      begin HookwellBacklogOld
      "$ctl" -q set_policy -p out --apply-to queues full '^hookwell.contacts$' '{"max-length": 1, "overflow": "reject-publish"}'
      fires HookwellBacklogOld
      undo HookwellBacklogOld
      "$ctl" -q clear_policy -p out full
      resolves HookwellBacklogOld
    fi
    undo HookwellTenantsHeld
    # Its consumer is back.
    start consumer bash -c "while :; do '$ctl' -q purge_queue -p out hookwell.full; sleep 0.2; done"
    resolves HookwellTenantsHeld
    end consumer KILL
  fi

  if wanted HookwellUnroutable HookwellDeadLetters; then
    # Somebody deletes the alternate exchange, and nothing is bound for tasks.
    "$ctl" -q eval 'rabbit_exchange:delete(rabbit_misc:r(<<"out">>, exchange, <<"hookwell.unrouted">>), false, <<"somebody">>).' >>"$work/log/ctl.log" 2>&1
    begin HookwellUnroutable HookwellDeadLetters
    send out TaskCreate --tenant nobodysTenant --count 2
    fires HookwellUnroutable
    fires HookwellDeadLetters
    undo HookwellUnroutable HookwellDeadLetters
    # As the runbook says: a restart makes the exchange again.
    end out
    serve out
    until_true 30 relaying out
    "$hookwell" dead-letters retry --all -c "$work/out/hookwell.toml" >>"$work/log/ctl.log" 2>&1
    resolves HookwellUnroutable
    resolves HookwellDeadLetters
  fi
  end others

  if wanted HookwellTwoRelay; then
    # A store of its own, and the same job.
    configure twin "sqlite://$work/twin/hookwell.db" "$broker" </dev/null
    begin HookwellTwoRelay
    serve twin
    scrape twin "$job"
    fires HookwellTwoRelay
    undo HookwellTwoRelay
    end twin
    resolves HookwellTwoRelay
  fi
  retire out twin
}

# --- tenants and webhooks that stay away ----------------------------------------------------------

alerts_of[quiet]='HookwellWebhooksStopped HookwellTenantsSilent'
quiet_group() {
  job='hookwell-quiet'
  configure quiet "sqlite://$work/quiet/hookwell.db" "$(vhost rabbitmq quiet)" </dev/null
  serve quiet && scrape quiet "$job" || return
  if wanted HookwellWebhooksStopped; then
    load usual quiet/hookwell.toml dev-key 5
    sleep 25
    end usual
  fi
  begin HookwellWebhooksStopped HookwellTenantsSilent
  if wanted HookwellTenantsSilent; then
    # A tenant of five days that never was silent for more than a quarter of an hour, and now is for three hours.
    lite quiet "insert into tenants (tenant, first_at, last_at, longest_gap)
      select 'silentTenant', (t - 5 * 86400) * 1000000, (t - 3 * 3600) * 1000000, 900000000 from (select cast(strftime('%s', 'now') as integer) as t)"
    fires HookwellTenantsSilent
  fi
  fires HookwellWebhooksStopped
  undo HookwellWebhooksStopped HookwellTenantsSilent
  send quiet ContactCreate --tenant silentTenant --count 5 --rate 2
  resolves HookwellWebhooksStopped
  resolves HookwellTenantsSilent
  retire quiet
}

# --- GHL's API ------------------------------------------------------------------------------------

alerts_of[api]='HookwellFollowUpsParked HookwellApiDown HookwellFollowUpsOld HookwellTokensToReauthorise HookwellGapsOpen'
LOCATION=DevLocation000000001
dev() { ask http "$1" "http://127.0.0.1:$ghl_port/_dev/$2" ${3+"$3"} 2>&1 | tee -a "$work/log/dev.log"; }
# Allows the app there, as a person does.
authorise() {
  local code
  code=$(dev POST code "{\"location\": \"$LOCATION\"}" | sed -n 's/.*"code": *"\([^"]*\)".*/\1/p')
  ask http GET "http://127.0.0.1:${http_port[api-1]}/oauth/callback?code=$code" >>"$work/log/dev.log"
}

api_group() {
  local url name
  job='hookwell-api'
  url=$(vhost rabbitmq api)
  start ghl "$hookwell" dev ghl --listen "127.0.0.1:$ghl_port"
  until_true 20 port_answers "$ghl_port"
  "$hookwell" keys rotate --file "$work/token-keys" >>"$work/log/keys.log"
  for name in api-1 api-2; do
    configure "$name" "$(service_value "$work/postgres-api" PG_URL)" "$url" <<TOML
client_id = "$APP_ID-lx1a2b3c"
client_secret = "a-secret-for-development-only"
redirect_uri = "http://127.0.0.1:8080/oauth/callback"
install_without_state = true

[ghl]
api_base = "http://127.0.0.1:$ghl_port"
token_keys_file = "$work/token-keys"
retry_first = "200ms"

[repair]
settle = "30s"

[[follow_ups]]
name = "contact-snapshot"
on = ["ContactCreate"]
request = "GET /contacts/{entity_id}"
TOML
    serve "$name" && scrape "$name" "$job" || return
  done
  dev POST install "{\"location\": \"$LOCATION\"}" >/dev/null
  authorise
  send api-1 ContactCreate --tenant "$LOCATION"

  if wanted HookwellFollowUpsParked; then
    begin HookwellFollowUpsParked
    dev POST fault '{"path": "/contacts/", "deed": {"status": 422}}' >/dev/null
    send api-1 ContactCreate --tenant "$LOCATION" --count 2
    fires HookwellFollowUpsParked
    dev DELETE fault >/dev/null
    undo HookwellFollowUpsParked
    retry_calls
    resolves HookwellFollowUpsParked
  fi

  if wanted HookwellApiDown HookwellFollowUpsOld; then
    begin HookwellApiDown HookwellFollowUpsOld
    dev POST fault '{"deed": {"status": 503}}' >/dev/null
    send api-1 ContactCreate --tenant "$LOCATION" --count 12
    # An hour passes.
    sql postgres-api "update follow_ups set planned_at = planned_at - 3700000000 where state = 'pending'"
    fires HookwellApiDown
    sql postgres-api "update follow_ups set planned_at = planned_at - 3700000000 where state = 'pending'"
    fires HookwellFollowUpsOld
    undo HookwellApiDown HookwellFollowUpsOld
    dev DELETE fault >/dev/null
    resolves HookwellApiDown
    resolves HookwellFollowUpsOld
    retry_calls
  fi

  if wanted HookwellTokensToReauthorise; then
    begin HookwellTokensToReauthorise
    # GHL forgets the app there, and the webhook that says so is lost. The access token ends, and the other one is refused.
    dev POST uninstall "{\"location\": \"$LOCATION\"}" >/dev/null
    dev POST expire "{\"location\": \"$LOCATION\"}" >/dev/null
    send api-1 ContactCreate --tenant "$LOCATION" --count 2
    fires HookwellTokensToReauthorise
    undo HookwellTokensToReauthorise
    dev POST install "{\"location\": \"$LOCATION\"}" >/dev/null
    authorise
    resolves HookwellTokensToReauthorise
    retry_calls
  fi

  if wanted HookwellGapsOpen; then
    retire api-2
    end api-1
    begin HookwellGapsOpen
    # Two hours pass in which no daemon runs.
    sql postgres-api 'update acceptance set until_at = until_at - 7200000000'
    serve api-1
    fires HookwellGapsOpen
    # It is repaired by itself, when repair.settle is over.
    undo HookwellGapsOpen
    resolves HookwellGapsOpen
  fi
  retire api-1 api-2
  end ghl
}
# Those that are parked; where there is none, that is said and fine.
retry_calls() { "$hookwell" follow-ups retry --all -c "$work/api-1/hookwell.toml" >>"$work/log/ctl.log" 2>&1 || true; }

# --- all of it --------------------------------------------------------------------------------------

mkdir "$work/log"
missing=()
has_command prometheus || missing+=(prometheus)
has_command sqlite3 || missing+=(sqlite3)
has_command prlimit && has_command mountpoint && has_command fallocate || missing+=(util-linux mount)
install_missing rabbitmq postgres
if ((${#missing[@]})); then
  echo "Installing Debian packages: ${missing[*]}"
  apt_install "${missing[@]}"
  # As with those that apt_install knows: nothing that came for a test starts with the machine.
  [[ ! -d /run/systemd/system || " ${missing[*]} " != *' prometheus '* ]] || as_root systemctl disable -q prometheus || true
fi
python=$(python_with 'http.client, json') || { apt_install python3; python=$(python_with 'http.client, json'); }

say 'Times that are shorter here than in alerts.yaml; everything else is as it ships:'
"$python" "$root/tests/alerts/shorten.py" "$rules" "$work/alerts.yaml" | sed 's/^/  /'
for name in dev-key other-key; do "$hookwell" keys generate --out "$work/$name.pem" >>"$work/log/keys.log"; done

GROUPS_OF=(main door doors disks out quiet api)
# Ports for everybody, taken here: groups run beside each other, and would choose the same.
for name in first second door cap fds roomy small out twin quiet api-1 api-2; do
  free_port port && http_port[$name]=$port
  free_port port && admin_port[$name]=$port
done
free_port prometheus_port && free_port gate_port && free_port ghl_port
prometheus=http://127.0.0.1:$prometheus_port

started=()
# beside NAME COMMAND...: in a shell of its own; what it says is in a log.
beside() {
  "${@:2}" >"$work/log/$1.out" 2>&1 &
  started+=("$1 $!")
}
beside postgres-main start_postgres "$work/postgres-main"
beside postgres-api start_postgres "$work/postgres-api"
beside rabbitmq-main start_rabbitmq "$work/rabbitmq-main"
beside rabbitmq start_rabbitmq "$work/rabbitmq"
# The rules against series that are made up: exact times and texts, which a real cause cannot give.
rules_hold() { promtool check rules "$rules" && (cd "${rules%/*}" && promtool test rules alerts_test.yaml); }
beside rules rules_hold
cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [$work/alerts.yaml]
scrape_configs:
  - job_name: nobody
    file_sd_configs:
      - {files: ["$work/targets/*.json"], refresh_interval: 2s}
YAML
promtool check config "$work/prometheus.yaml" >"$work/log/promtool.log" 2>&1 || die 'the shortened rules are no rules' "$work/log/promtool.log"
start prometheus prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/prometheus-data" \
  --web.listen-address="127.0.0.1:$prometheus_port" --storage.tsdb.retention.time=2h
ask ready "$prometheus" 60 || die 'Prometheus does not start' "$work/log/prometheus.log"
for entry in "${started[@]}"; do
  case ${entry% *} in
    rules) why='the rules of alerts.yaml are not what alerts_test.yaml says' ;;
    *) why="${entry% *} does not start" ;;
  esac
  wait "${entry#* }" || die "$why" "$work/log/${entry% *}.out"
done
say 'every rule does with made-up series what deploy/observe/alerts_test.yaml says'
say "ready after $SECONDS s"

groups=()
for group in "${GROUPS_OF[@]}"; do
  read -rd '' -a names <<<"${alerts_of[$group]}" || true
  wanted "${names[@]}" || continue
  # What a group's own failures are is in its log; the verdict goes by alerts.
  (
    trap - EXIT INT TERM HUP
    set +e
    "${group}_group" 2>>"$work/log/$group-group.log"
  ) &
  groups+=("$group $!")
  printf 'group %s %s\n' "$!" "$(process_started "$!" || true)" >>"$work/running"
done
for entry in "${groups[@]}"; do wait "${entry#* }" || true; done

# The other half of HookwellAllDown: nobody has told Prometheus of any daemon.
if wanted HookwellAllDown; then
  began[HookwellAllDown]=${EPOCHREALTIME/./}
  rm -f "$work"/targets/*.json
  fires HookwellAllDown
  undo HookwellAllDown
  serve first
  scrape first hookwell
  resolves HookwellAllDown
fi

expected=("${all[@]}")
((${#only[@]} == 0)) || expected=("${only[@]}")
good=0 bad=()
for name in "${expected[@]}"; do
  if compgen -G "$work/results/$name.*.ok" >/dev/null && ! compgen -G "$work/results/$name.*.failed" >/dev/null; then good=$((good + 1)); else bad+=("$name"); fi
done
if ! problem=$(ask rules "$prometheus" 2>&1); then
  say "FAILED rules that could not be evaluated: $problem"
  bad+=('rules')
fi
for name in "${bad[@]}"; do
  [[ $name == rules ]] || compgen -G "$work/results/$name.*.failed" >/dev/null || say "FAILED $name: its condition was not reached"
done
if ((${#bad[@]})); then
  for entry in "${groups[@]}"; do show_log "$work/log/${entry% *}-group.log"; done
fi
beside=$(ask fired "$prometheus" "$SECONDS" | sort | grep -vxFf "$work/results/expected" || true)
[[ -z $beside ]] || say "Fired beside these: ${beside//$'\n'/, }"
say "$good of ${#expected[@]} alerts fired and resolved, $SECONDS s"
((${#bad[@]} == 0))
