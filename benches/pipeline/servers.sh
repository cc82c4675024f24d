# shellcheck shell=bash disable=SC2154  # the variables of benches/pipeline.sh
# What is measured and what it needs: RabbitMQ, Postgres, stores and queues that nothing else has used,
# and one server at a time (the daemon, or the one that only verifies).

APP_ID=65f0c0ffee65f0c0ffee65f0
server_pid='' server_started='' http_port='' admin_port='' dead_port=''

# Sets $amqp, $ctl, $watch, the versions and the ports.
start_servers() {
  start_rabbitmq "$work/rabbitmq"
  ctl=$(service_value "$work/rabbitmq" RABBITMQCTL)
  amqp=amqp://guest:guest@127.0.0.1:$(service_value "$work/rabbitmq" AMQP_PORT)
  rabbitmq_version=$("$ctl" -q version)
  watch=(--watch "rabbitmq=$(service_value "$work/rabbitmq" BEAM_PID)")
  postgres_version='no Postgres'
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
}

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

# fresh_store sqlite|postgres: an empty one; sets $store_url. Those before are dropped, but for $kept_url.
stores_made=0 store_url='' store_urls='' kept_url=''
fresh_store() {
  local at=(-h 127.0.0.1 -p "${pg_port-}" -U postgres) url left=''
  for url in $store_urls; do
    if [[ $url == "$kept_url" ]]; then
      left+=" $url"
    elif [[ $url == sqlite://* ]]; then
      rm -f -- "${url#sqlite://}"*
    else
      "$pg_bin/dropdb" "${at[@]}" "${url##*/}"
    fi
  done
  stores_made=$((stores_made + 1))
  if [[ $1 == sqlite ]]; then
    store_url=sqlite://$work/$stores_made.db
  else
    "$pg_bin/createdb" "${at[@]}" "bench$stores_made"
    store_url=postgres://postgres@127.0.0.1:$pg_port/bench$stores_made
  fi
  store_urls="$left $store_url"
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

# fresh STORE: both, and the configuration for them.
fresh() {
  fresh_store "$1"
  fresh_queues
  configure "$store_url" "$broker_url"
}

# start_server COMMAND...: in the background until stop_server; sets $server_pid.
start_server() {
  launch "$work/server.pid" "$work/server.log" "$@"
  server_pid=$(<"$work/server.pid")
  server_started=$(process_started "$server_pid") || { show_log "$work/server.log"; die 'the server ended at once'; }
  wait_for_server port_answers "$http_port"
}
# wait_for_server COMMAND...: until it succeeds.
wait_for_server() {
  local deadline=$((SECONDS + 60))
  until "$@"; do
    is_alive "$server_pid" "$server_started" || { show_log "$work/server.log"; die 'the server ended'; }
    ((SECONDS < deadline)) || { show_log "$work/server.log"; die 'the server was not ready in time'; }
    sleep 0.05
  done
}
is_ready() { [[ $(http_status "$admin_port" /readyz) == 200 ]]; }
start_daemon() {
  start_server "$hookwell" serve --config "$work/hookwell.toml"
  wait_for_server is_ready
}
stop_server() {
  end_process "$server_pid" "$server_started" TERM 30
  server_pid='' server_started=''
}
