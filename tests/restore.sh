#!/usr/bin/env bash
# Proves what deploy/OPERATIONS.md says of backups, on SQLite and on Postgres: a
# copy that is taken under load holds every event that was answered 200 before it
# began, and what is published again after a restore comes with its own message_id.
#
#   bash tests/restore.sh BINARY                   both stores
#   bash tests/restore.sh BINARY sqlite|postgres   one of them
#   bash tests/restore.sh --careless BINARY [STORE]
#         copies without care (SQLite's file without its -wal file, a dump of
#         Postgres that is older than it should be): this has to fail
#   bash tests/restore.sh --lists FOLDER BINARY [STORE]
#         leaves the keys behind each figure there, a file each
#
# `hookwell send` posts through a recorder that writes down each key with its
# answer, so what was answered 200 is known from outside of hookwell. RabbitMQ is
# made to block for a while, so that the copy holds events that were not published
# yet. Then: kill -9 under load, the copy into a fresh store, and the verdict.
# Private servers on free loopback ports; nothing is left behind.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=deploy/services.sh
. deploy/services.sh

careless='' lists=''
while [[ ${1-} == -* ]]; do
  case $1 in
    --careless) careless=1 ;;
    --lists) lists=${2:?--lists needs a folder}; shift ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) complain "unknown option '$1'; try --help"; exit 64 ;;
  esac
  shift
done
if (($# < 1 || $# > 2)); then
  complain 'name one binary of hookwell, and perhaps a store; try --help'
  exit 64
fi
hookwell=$(realpath -- "$1")
[[ -x $hookwell ]] || { complain "$hookwell is not there, or cannot be run"; exit 66; }
case ${2-both} in
  sqlite | postgres) stores=("$2") ;;
  both) stores=(sqlite postgres) ;;
  *) complain "there is no store '$2'; sqlite or postgres"; exit 64 ;;
esac
# Settings of this shell are not what is tried.
for name in "${!HOOKWELL_@}"; do unset "$name"; done

TENANT=restoreLocation000001
APP_ID=65f0c0ffee65f0c0ffee65f0
RATE=200
if [[ -n $lists ]]; then
  mkdir -p "$lists"
  lists=$(realpath -- "$lists")
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-restore.XXXXXX")
# Root runs Postgres as another user, who must be able to pass through here.
chmod 711 "$work"
# Started processes, as "pid start-time".
running=()
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  local code=$? entry
  trap - EXIT INT TERM HUP
  for entry in "${running[@]}"; do end_process "${entry% *}" "${entry#* }" KILL 5 || true; done
  stop_service "$work/rabbitmq" at-once || true
  stop_service "$work/postgres" at-once || true
  remove_service "$work"
  exit "$code"
}
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

# start NAME COMMAND...: its output is in $at/NAME.log. Sets $started.
start() {
  local pid since
  launch "$at/$1.pid" "$at/$1.log" "${@:2}" || exit 1
  pid=$(<"$at/$1.pid")
  since=$(process_started "$pid") || die "$1 ended at once" "$at/$1.log"
  started="$pid $since"
  running+=("$started")
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || die "waited too long until $what" "$at"/*.log
    sleep 0.1
  done
}

lines_in() { if [[ -e $1 ]]; then wc -l <"$1"; else echo 0; fi; }
# Recorded answers, and messages that arrived.
answers() { (($(lines_in "$at/answers") >= $1)); }
arrivals() { (($(grep -c '^{' "$at/arrivals.log" || true) >= $1)); }
ready() { [[ $(http_status "$admin_port" /readyz) == 200 ]]; }
relaying() { grep -q '"message":"relaying"' "$at/$1.log"; }
drained() { "$hookwell" status -c "$1" --json 2>>"$at/status.log" | grep -q '"pending":0,'; }
# The daemon's own way in, for what no verdict is passed on.
probe() { "$hookwell" send ContactCreate -c "$at/before.toml" --key "$work/dev-key.pem" --tenant probe >>"$at/probe.log" 2>&1 || true; }
tap_is_there() { probe; arrivals 1; }

# --- the recorder -----------------------------------------------------------------

# Passes each POST on and writes down "STATUS KEY" before it passes the answer back.
cat >"$work/recorder.py" <<'PYTHON'
import http.client, http.server, json, sys, threading

listen, upstream, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
answers, lock, mine = open(path, "a", buffering=1), threading.Lock(), threading.local()


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = json.loads(body)["webhookId"]
        try:
            if getattr(mine, "way", None) is None:
                mine.way = http.client.HTTPConnection("127.0.0.1", upstream, timeout=30)
            mine.way.request("POST", self.path, body, {name: value for name, value in self.headers.items() if name.lower() != "host"})
            answer = mine.way.getresponse()
            status, said = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            mine.way = None
            self.close_connection = True
            return
        with lock:
            answers.write(f"{status} {key}\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", listen), Recorder).serve_forever()
PYTHON

# --- the verdict --------------------------------------------------------------------

cat >"$work/judge.py" <<'PYTHON'
import json, os, sys

answers, restored, arrivals, began, ended, killed, lists = sys.argv[1:8]
began, ended, killed = int(began), int(ended), int(killed)
answered = [line.split() for line in open(answers)]
keys = lambda lines: [key for status, key in lines if status == "200"]
before, during, after, markers = keys(answered[:began]), keys(answered[began:ended]), keys(answered[ended:killed]), keys(answered[killed:])
known = {key for _, key in answered}
log = {event["event_key"]: event["position"] for event in map(json.loads, open(restored))}
seen, bodies, strange = {}, {}, []
for line in open(arrivals):
    if not line.startswith("{"):
        continue
    arrival = json.loads(line)
    key = json.loads(arrival["body"])["webhookId"]
    if key not in known:
        continue
    # The id inside the signed body says which event it is; message_id has to say the same, each time.
    if arrival["event_key"] != key or bodies.setdefault(key, arrival["body"]) != arrival["body"]:
        strange.append(key)
    seen.setdefault(key, []).append(int(arrival["headers"]["hookwell-position"]))

lost = [key for key in before if key not in log]
missing = [key for key in during + after if key not in log]
nowhere = [key for key in missing if key not in seen]
twice = [key for key, places in seen.items() if len(places) > 1]
unpublished = [key for key in log if key in known and key not in seen]
holders = {}
for key, places in seen.items():
    for place in places:
        holders.setdefault(place, set()).add(key)
again = [place for place, held in holders.items() if len(held) > 1]

row = lambda what, count, note="": print(f"   {what:<44}{count:>6}   {note}".rstrip())
row("answered 200 before the backup began", len(before), f"lost={len(lost)}")
row("answered 200 while it was taken", len(during), f"missing={sum(key not in log for key in during)}")
row("answered 200 after it", len(after), f"missing={sum(key not in log for key in after)}")
row("missing in the restored log", len(missing), f"of these {len(missing) - len(nowhere)} had reached RabbitMQ, {len(nowhere)} are nowhere")
for key in missing[:2] + ["…"] * (len(missing) > 3) + missing[2:][-1:]:
    print(f"      {key}")
row("published twice", len(twice), f"another message_id or body: {len(strange)}")
row("positions given out a second time", len(again), f"by {len(markers)} webhooks after the restore")
if lists:
    for name, found in (("answered-before", before), ("lost", lost), ("missing", missing), ("nowhere", nowhere), ("twice", twice)):
        with open(os.path.join(lists, name), "w") as out:
            out.writelines(f"{key}\n" for key in found)

wrong = []
if lost:
    wrong.append(f"{len(lost)} events that were answered 200 before the backup began are not in it, {lost[0]} for one")
if strange:
    wrong.append(f"{len(strange)} events came with another message_id or body, {strange[0]} for one")
if unpublished:
    wrong.append(f"{len(unpublished)} events of the restored log did not reach RabbitMQ, {unpublished[0]} for one")
if not (before and after and missing and twice and again):
    wrong.append("too little happened for a verdict: see the counts above that are 0")
for line in wrong:
    print(f"   WRONG: {line}")
sys.exit(1 if wrong else 0)
PYTHON

# --- one store ------------------------------------------------------------------------

# configure FILE STORE-URL
configure() {
  cat >"$at/$1" <<TOML
[http]
listen = "127.0.0.1:$http_port"

[admin]
listen = "127.0.0.1:$admin_port"

[store]
url = "$2"

[broker]
url = "$broker"

[[broker.queues]]
name = "hookwell.contacts"
bind = ["contact.#"]

[signature]
ed25519_keys = ["""
$(<"$work/dev-key.pem.pub")
"""]

[[apps]]
id = "$APP_ID"
path = "/webhooks/ghl"

[log]
format = "json"
TOML
}

# Copies the store of the running daemon to $at/backup.
back_up() {
  case $1 in
    # In a transaction: outside of one the copy begins anew with every commit of the daemon, and may never end.
    sqlite) sqlite3 "$at/before.db" begin 'select position from log_head' ".backup $at/backup" >>"$at/backup.log" 2>&1 ;;
    postgres) "$bin/pg_dump" -Fc -f "$at/backup" "$(service_value "$work/postgres" PG_URL)" >>"$at/backup.log" 2>&1 ;;
  esac
}

# Makes a fresh store of $at/backup, for the configuration after.toml.
restore() {
  local url
  case $1 in
    sqlite)
      (umask 077 && cp "$at/backup" "$at/after.db")
      configure after.toml "sqlite://$at/after.db"
      ;;
    postgres)
      url=$(service_value "$work/postgres" PG_URL)
      url=${url%/*}
      "$bin/createdb" -h 127.0.0.1 -p "${url##*:}" -U postgres restored >>"$at/backup.log" 2>&1
      "$bin/pg_restore" --exit-on-error -d "$url/restored" "$at/backup" >>"$at/backup.log" 2>&1
      configure after.toml "$url/restored"
      ;;
  esac
}

try_store() {
  local store=$1 at=$work/try-$1 http_port admin_port recorder_port broker began ended killed started daemon load since took
  mkdir "$at"
  for name in http_port admin_port recorder_port; do free_port "$name"; done
  # A virtual host of its own: what the other store published is not counted.
  "$ctl" -q add_vhost "$store" && "$ctl" -q set_permissions -p "$store" guest '.*' '.*' '.*'
  broker=$(service_value "$work/rabbitmq" AMQP_URL) broker=${broker%/*}/$store
  case $store in
    sqlite) configure before.toml "sqlite://$at/before.db" ;;
    postgres) configure before.toml "$(service_value "$work/postgres" PG_URL)" ;;
  esac

  start before "$hookwell" serve -c "$at/before.toml"
  daemon=$started
  wait_for 30 'the daemon is ready' ready
  wait_for 30 'it relays' relaying before
  start arrivals "$hookwell" tail -c "$at/before.toml" --json
  wait_for 20 'a message is seen' tap_is_there
  start recorder "$python" "$work/recorder.py" "$recorder_port" "$http_port" "$at/answers"
  wait_for 10 'the recorder listens' port_answers "$recorder_port"

  start load "$hookwell" send ContactCreate ContactUpdate -c "$at/before.toml" --key "$work/dev-key.pem" \
    --tenant "$TENANT" --url "http://127.0.0.1:$recorder_port" --count 1000000 --rate "$RATE"
  load=$started
  wait_for 20 'the load is under way' answers $((RATE / 2))
  [[ -z $careless || $store != postgres ]] || back_up postgres
  wait_for 20 'there is load' answers $((RATE * 2))
  "$ctl" -q set_vm_memory_high_watermark 0
  wait_for 20 'there is a backlog' answers $(($(lines_in "$at/answers") + RATE))

  began=$(lines_in "$at/answers") since=$(date +%s%N)
  if [[ -z $careless ]]; then
    back_up "$store" || die 'the backup failed' "$at/backup.log"
  elif [[ $store == sqlite ]]; then
    cp "$at/before.db" "$at/backup"
  fi
  took=$((($(date +%s%N) - since) / 1000000)) ended=$(lines_in "$at/answers")
  "$ctl" -q set_vm_memory_high_watermark 0.4

  # More, until what waited is published too.
  wait_for 20 'there is more load' answers $((ended + RATE * 2))
  wait_for 20 'the backlog is published' arrivals "$(lines_in "$at/answers")"
  end_process "${daemon% *}" "${daemon#* }" KILL 5
  end_process "${load% *}" "${load#* }" KILL 5
  # The recorder may hold an answer that came in the last moment.
  sleep 0.5
  killed=$(lines_in "$at/answers")

  restore "$store" || die 'the restore failed' "$at/backup.log"
  start after "$hookwell" serve -c "$at/after.toml"
  wait_for 30 'the daemon is ready on the restored store' ready
  wait_for 30 'it relays' relaying after
  wait_for 30 'everything is published' drained "$at/after.toml"
  "$hookwell" events list -c "$at/after.toml" --limit 10000 --tenant "$TENANT" --json >"$at/restored"
  # What comes now gets positions that were given out before. It is published behind all else.
  "$hookwell" send ContactCreate -c "$at/after.toml" --key "$work/dev-key.pem" --tenant "$TENANT" \
    --url "http://127.0.0.1:$recorder_port" --count 20 >>"$at/probe.log" 2>&1 \
    || die 'the restored daemon does not take webhooks' "$at/probe.log" "$at/after.log"
  wait_for 20 'all of it arrived' grep -qF "$(tail -n 1 "$at/answers" | cut -d' ' -f2)" "$at/arrivals.log"

  printf '== %s: copied in %d ms under %d webhooks a second, %d KiB\n' \
    "$store" "$took" "$RATE" $(($(stat -c %s "$at/backup") / 1024))
  [[ -z $lists ]] || mkdir -p "$lists/$store"
  if "$python" "$work/judge.py" "$at/answers" "$at/restored" "$at/arrivals.log" "$began" "$ended" "$killed" "${lists:+$lists/$store}"; then
    printf 'ok      %s\n' "$store"
  else
    printf 'FAILED  %s\n' "$store"
    failed=1
  fi
}

# --- all of it --------------------------------------------------------------------------

install_missing rabbitmq postgres
has_command sqlite3 || apt_install sqlite3
python=$(python_with 'http.server, json') || { apt_install python3; python=$(python_with 'http.server, json'); }
bin=$(postgres_bin)
"$hookwell" keys generate --out "$work/dev-key.pem" >"$work/keys.log"
start_postgres "$work/postgres" >"$work/postgres.out" 2>&1 &
postgres=$!
start_rabbitmq "$work/rabbitmq"
wait "$postgres" || { cat "$work/postgres.out" >&2; exit 1; }
ctl=$(service_value "$work/rabbitmq" RABBITMQCTL)

failed=''
for store in "${stores[@]}"; do try_store "$store"; done
printf 'restore: %s, %d s\n' "$([[ -z $failed ]] && echo ok || echo FAILED)" "$SECONDS"
[[ -z $failed ]]
