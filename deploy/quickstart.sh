#!/usr/bin/env bash
# The whole path on this machine: signed webhooks in, RabbitMQ queues out.
#
#   bash deploy/quickstart.sh          shows it, leaves it running until Ctrl-C
#   bash deploy/quickstart.sh --once   shows it and ends
#
# Starts a private RabbitMQ (installed with apt-get if it is missing; or name
# your own in HOOKWELL_BROKER__URL), builds hookwell (or uses the binary in
# HOOKWELL_BIN), runs it on SQLite with a generated development key, sends one
# of each main event and prints what arrived in which queue. Then it installs an
# app at a GHL of its own (hookwell dev ghl) and shows a record that was fetched
# because of a webhook. While it runs there is a console in the browser; it says
# where, and the token. Works as root in a container and as a user with sudo.
# Everything lives in one temporary folder and goes with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=deploy/services.sh
. deploy/services.sh

EVENTS=(ContactCreate ContactUpdate ContactTagUpdate OpportunityCreate OpportunityStageUpdate INSTALL UNINSTALL InboundMessage)
QUEUES=(hookwell.contacts hookwell.opportunities hookwell.app hookwell.messages)
APP_ID=65f0c0ffee65f0c0ffee65f0
CLIENT_ID=$APP_ID-lx1a2b3c
CLIENT_SECRET=a-secret-for-development-only

once=''
while (($#)); do
  case $1 in
    --once) once=1 ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) complain "unknown argument '$1'; try --help"; exit 64 ;;
  esac
  shift
done

bold='' green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
heading() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

broker=${HOOKWELL_BROKER__URL-}
# Overrides meant for another hookwell must not change what is shown here.
for name in "${!HOOKWELL_@}"; do
  [[ $name != HOOKWELL_*__* ]] || unset "$name"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-quickstart.XXXXXX")
hookwell_pid='' hookwell_started='' http_port='' admin_port='' ghl_pid='' ghl_started='' ghl_port=''
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  local code=$?
  trap - EXIT INT TERM HUP
  [[ -z $hookwell_pid ]] || end_process "$hookwell_pid" "$hookwell_started" TERM 20 || true
  [[ -z $ghl_pid ]] || end_process "$ghl_pid" "$ghl_started" TERM 20 || true
  stop_service "$work/rabbitmq" at-once || true
  if ((code == 0 || code > 128)); then
    remove_service "$work"
  else
    keep_logs "$work"
  fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'echo; echo "Ending and cleaning up."; exit 130' INT
trap 'exit 143' TERM

# --- the parts ----------------------------------------------------------------

hookwell=${HOOKWELL_BIN-}
if [[ -z $hookwell ]]; then
  command -v cargo >/dev/null || PATH="${HOME-}/.cargo/bin:$PATH"
  command -v cargo >/dev/null || die "Rust is not installed. It takes one command as an ordinary user (https://rustup.rs):
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y
then open a new shell and run this again."
  heading 'Building hookwell (the first time takes some minutes)'
  install_missing cc
  cargo build --release --locked
  hookwell=$(cargo_target)/release/hookwell
fi
[[ -x $hookwell ]] || die "$hookwell is not there, or cannot be run"

if [[ -n $broker ]]; then
  heading 'Using the RabbitMQ of HOOKWELL_BROKER__URL'
else
  heading 'Starting a private RabbitMQ'
  began=$SECONDS
  install_missing rabbitmq
  start_rabbitmq "$work/rabbitmq"
  broker=$(service_value "$work/rabbitmq" AMQP_URL)
  echo "ready after $((SECONDS - began)) s: $broker"
fi

heading 'Starting hookwell on SQLite with a development key of its own'
key=$work/dev-key.pem config=$work/hookwell.toml log=$work/hookwell.log
"$hookwell" keys generate --out "$key" >"$log" 2>&1 || { show_log "$log"; die 'no development key could be made'; }
free_port http_port
free_port admin_port
free_port ghl_port
"$hookwell" keys rotate --file "$work/token-keys" >>"$log" 2>&1 || { show_log "$log"; die 'no key for tokens could be made'; }
printf '%s\n' "$CLIENT_SECRET" >"$work/client_secret"
token=$(random_hex 32)
(umask 077 && printf 'you:%s\n' "$token" >"$work/admin_tokens")
ghl=http://127.0.0.1:$ghl_port callback=http://127.0.0.1:$http_port/oauth/callback
cat >"$config" <<TOML
[http]
listen = "127.0.0.1:$http_port"

[admin]
listen = "127.0.0.1:$admin_port"
token_file = "$work/admin_tokens"

[store]
url = "sqlite://$work/hookwell.db"

[broker]
url = "$broker"

[[broker.queues]]
name = "hookwell.contacts"
bind = ["contact.#"]

[[broker.queues]]
name = "hookwell.opportunities"
bind = ["opportunity.#"]

[[broker.queues]]
name = "hookwell.app"
bind = ["app.#"]

[[broker.queues]]
name = "hookwell.messages"
bind = ["message.#"]

[signature]
ed25519_keys = ["""
$(<"$key.pub")
"""]

[[apps]]
id = "$APP_ID"
path = "/webhooks/ghl"
client_id = "$CLIENT_ID"
client_secret_file = "$work/client_secret"
redirect_uri = "$callback"
install_url = "$ghl/v2/oauth/chooselocation?response_type=code&client_id=$CLIENT_ID&version_id=$APP_ID&redirect_uri=$callback"

[ghl]
api_base = "$ghl"
authorize_url = "$ghl/v2/oauth/chooselocation"
token_keys_file = "$work/token-keys"

[[follow_ups]]
name = "contact-snapshot"
on = ["ContactCreate"]
request = "GET /contacts/{entity_id}"
publish_as = "contact.snapshot"
TOML
"$hookwell" check-config --config "$config" >>"$log" 2>&1 || { show_log "$log"; die "hookwell does not accept its configuration"; }

launch "$work/hookwell.pid" "$log" "$hookwell" serve --config "$config"
hookwell_pid=$(<"$work/hookwell.pid")
hookwell_started=$(process_started "$hookwell_pid") || { show_log "$log"; die 'hookwell ended at once'; }

deadline=$((SECONDS + 30))
until [[ $(http_status "$admin_port" /readyz) == 200 ]]; do
  is_alive "$hookwell_pid" "$hookwell_started" || { show_log "$log"; die 'hookwell ended before it was ready'; }
  ((SECONDS < deadline)) || { show_log "$log"; die "hookwell was not ready within 30 s (http://127.0.0.1:$admin_port/readyz)"; }
  sleep 0.1
done
# Ready means that webhooks can be committed; for the show the queues have to be there too.
until grep -q '"message":"relaying"' "$log"; do
  is_alive "$hookwell_pid" "$hookwell_started" || { show_log "$log"; die 'hookwell ended before it had RabbitMQ'; }
  ((SECONDS < deadline)) || { show_log "$log"; die 'hookwell did not get to RabbitMQ within 30 s'; }
  sleep 0.1
done
echo "ready: webhooks go to http://127.0.0.1:$http_port/webhooks/ghl"

# --- the show -----------------------------------------------------------------

# A sub-account of this run's own: a broker that was here before may hold events of earlier runs.
tenant=$(printf 'qs%018d' "$((RANDOM * 32768 * 32768 + RANDOM * 32768 + RANDOM))")
heading "Sending ${#EVENTS[@]} signed webhooks, one of each main event"
queue_options=()
for queue in "${QUEUES[@]}"; do queue_options+=(--queue "$queue"); done
# It listens before the first one is sent, so that it shows the time of the path and not its own start.
timeout --kill-after=5 40 "$hookwell" tail --config "$config" "${queue_options[@]}" --bind "*.*.$tenant" --count "${#EVENTS[@]}" --timeout 20s \
  >"$work/tail.out" 2>"$work/tail.err" &
tail_pid=$!
sleep 0.5
for event in "${EVENTS[@]}"; do
  if ! timeout 30 "$hookwell" send "$event" --config "$config" --key "$key" --tenant "$tenant" >"$work/send.out" 2>&1; then
    kill "$tail_pid" 2>/dev/null || true
    show_log "$work/send.out" "$log"
    die "$event was not accepted"
  fi
  echo "accepted: $event"
done
tail_status=0
wait "$tail_pid" || tail_status=$?

heading 'What arrived in RabbitMQ'
cat "$work/tail.out"
# A line of an event has its routing key: family, action, tenant.
arrived=$(grep -cE "(contact|opportunity|app|message)\\.[a-z_]+\\.$tenant" "$work/tail.out" || true)
rule='+----------------------------------------------------------------------+'
if ((arrived < ${#EVENTS[@]})); then
  printf '\n%s%s\n| %-68s |\n%s%s\n' "$red" "$rule" "Only $arrived of ${#EVENTS[@]} events arrived within 20 s." "$rule" "$plain"
  show_log "$work/tail.err" "$log"
  exit 1
fi
if ((tail_status != 0)); then
  show_log "$work/tail.err"
  die "hookwell tail ended with status $tail_status"
fi
printf '\n%s%s\n| %-68s |\n| %-68s |\n%s%s\n' "$green" "$rule" \
  "It works: $arrived of ${#EVENTS[@]} events went all the way: signature checked," \
  'committed to the log, confirmed by RabbitMQ, read from the queues.' "$rule" "$plain"

# --- a follow-up ----------------------------------------------------------------

heading 'Installing the app at a GHL of this machine, as a browser does'
launch "$work/ghl.pid" "$work/ghl.log" "$hookwell" dev ghl --listen "127.0.0.1:$ghl_port" \
  --client-id "$CLIENT_ID" --client-secret "$CLIENT_SECRET"
ghl_pid=$(<"$work/ghl.pid")
ghl_started=$(process_started "$ghl_pid") || { show_log "$work/ghl.log"; die 'hookwell dev ghl ended at once'; }
deadline=$((SECONDS + 30))
until port_answers "$ghl_port"; do
  ((SECONDS < deadline)) || { show_log "$work/ghl.log"; die 'hookwell dev ghl did not listen within 30 s'; }
  sleep 0.1
done

# visit PORT PATH [COOKIE]: sets $visited to the status, $location and $cookie to what the head says.
visit() {
  local line head=''
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 0
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sConnection: close\r\n\r\n' "$2" "${3:+Cookie: $3$'\r\n'}" >&3
  while IFS= read -r -t 20 line <&3 && line=${line%$'\r'} && [[ -n $line ]]; do head+=$line$'\n'; done
  exec 3>&-
  visited=${head#* } visited=${visited%% *}
  location=$(sed -n 's/^[Ll]ocation: //p' <<<"$head")
  cookie=$(sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\).*/\1/p' <<<"$head")
}
installed=${tenant/qs/in}
visit "$http_port" /oauth/install
echo "/oauth/install      $visited, on to ${location%%\?*}"
browser_cookie=$cookie
visit "$ghl_port" "${location#"$ghl"}&location_id=$installed"
echo "the page of GHL     $visited, back to ${location%%\?*}"
visit "$http_port" "${location#"http://127.0.0.1:$http_port"}" "$browser_cookie"
echo "/oauth/callback     $visited"
[[ $visited == 200 ]] || { show_log "$log" "$work/ghl.log"; die 'the app was not installed'; }
"$hookwell" installs show "$installed" --config "$config"

heading 'A contact is created: the webhook comes, and the whole record is fetched'
timeout --kill-after=5 40 "$hookwell" tail --config "$config" --queue hookwell.contacts --bind "contact.*.$installed" \
  --count 2 --timeout 20s >"$work/tail2.out" 2>"$work/tail2.err" &
tail_pid=$!
sleep 0.5
timeout 30 "$hookwell" send ContactCreate --config "$config" --key "$key" --tenant "$installed" >"$work/send.out" 2>&1 \
  || { show_log "$work/send.out" "$log"; die 'ContactCreate was not accepted'; }
wait "$tail_pid" || { show_log "$work/tail2.err" "$log" "$work/ghl.log"; die 'the record did not arrive within 20 s'; }
cat "$work/tail2.out"
grep -q "contact\.snapshot\.$installed" "$work/tail2.out" || { show_log "$log"; die 'the record did not arrive'; }
"$hookwell" follow-ups list --config "$config" --tenant "$installed"

[[ -z $once ]] || exit 0

printf -v h '%q' "$hookwell"
cat <<NEXT

It keeps running until Ctrl-C. The console for the person on call:

  http://127.0.0.1:$admin_port/   log in with the token $token

In another terminal, try:

  # 1,000 webhooks at 200 a second, and what comes out of the queue
  $h send ContactUpdate --config $config --key $key --count 1000 --rate 200
  $h tail --config $config --queue hookwell.contacts

  # what GHL was asked for, and by whom
  curl $ghl/_dev/report
  $h follow-ups list --config $config

  # accepted = published + pending + parked + discarded
  $h status --config $config
  curl http://127.0.0.1:$admin_port/metrics
NEXT
if [[ -e $work/rabbitmq/env ]]; then
  cat <<NEXT

  # take the broker away: webhooks are still accepted, and wait in the log
  $work/rabbitmq/rabbitmqctl stop_app
  $h send ContactUpdate --config $config --key $key --count 100
  $h status --config $config
  $work/rabbitmq/rabbitmqctl start_app
  $h status --config $config

  # an event that nothing takes, not even the queue for what no binding takes: it is tried five times and
  # parked, within ten seconds
  $work/rabbitmq/rabbitmqctl delete_queue hookwell.unrouted
  $h send InvoicePaid --config $config --key $key
  until $h dead-letters list --config $config | grep unroutable; do sleep 1; done
  # hookwell makes that queue again with its next session
  $work/rabbitmq/rabbitmqctl stop_app && $work/rabbitmq/rabbitmqctl start_app
  # then publish the event from the console (Dead letters, Again, and say yes); it arrives in that queue
  $h tail --config $config --queue hookwell.unrouted
NEXT
fi
cat <<NEXT

  # a consumer of your own (python3-pika; there is one for Node beside it)
  AMQP_URL=$broker python3 deploy/consumers/consumer.py

The log of hookwell: $log
NEXT

while is_alive "$hookwell_pid" "$hookwell_started"; do
  # In the background, so that Ctrl-C is heard at once.
  sleep 1 &
  wait $! || true
done
show_log "$log"
die 'hookwell ended by itself'
