#!/usr/bin/env bash
# Private RabbitMQ and Postgres for the quick start and the tests, and pgbouncer.
#
# Each instance keeps everything it owns (data, logs, configuration, cookie) in
# one directory, listens on free loopback ports only, and never touches the
# services of the machine. Any number of them run side by side.
#
#   bash deploy/services.sh rabbitmq DIR   start one in DIR; returns when it is ready
#   bash deploy/services.sh postgres DIR   the same for Postgres
#   bash deploy/services.sh pgbouncer DIR  one before the Postgres on port HOOKWELL_PGBOUNCER_POSTGRES
#   bash deploy/services.sh restart DIR    start it again: same ports, same data
#   bash deploy/services.sh stop DIR       end it; the data stays
#   bash deploy/services.sh remove DIR     end it at once and delete DIR
#   bash deploy/services.sh install NAME...  rabbitmq postgres openssl pika cc
#                                          xfs strace iptables chromium pgbouncer
#
# DIR/env then holds KEY=VALUE lines: KIND and
#   rabbitmq: AMQP_URL AMQP_PORT DIST_PORT BEAM_PID EPMD_PID EPMD_PORT NODE RABBITMQCTL LOG
#   postgres: PG_URL PG_PORT PG_PID PG_DATA PG_BIN PG_SOCKETS LOG
#   pgbouncer: PG_URL PG_PORT PGBOUNCER_PID LOG
# Read when an instance is made: HOOKWELL_MAX_MESSAGE_SIZE (bytes) limits what
# RabbitMQ takes in one message; HOOKWELL_POSTGRES_DATA (an empty directory, not
# deleted with DIR) is where Postgres keeps its data, on another disk for example.
# For a RabbitMQ that is one of several: HOOKWELL_RABBITMQ_JOIN (the DIR of one
# that runs) makes it a member of that one's cluster; HOOKWELL_RABBITMQ_FROM (an
# address such as 127.0.0.2) is where its connections to other members come from;
# HOOKWELL_RABBITMQ_CONF holds more lines for its rabbitmq.conf.
# HOOKWELL_PGBOUNCER_CONF holds more lines for a pgbouncer's file, such as pool_mode = session.
#
# Or source this file and call start_rabbitmq, start_postgres, start_pgbouncer, service_value,
# restart_service, stop_service, remove_service, install_missing and cargo_target.
set -euo pipefail

RABBITMQ_READY_SECONDS=90
POSTGRES_READY_SECONDS=60

complain() { printf 'error: %s\n' "$*" >&2; }

# Shows the end of a log that explains a failure, and where the rest is.
show_log() {
  local log
  for log in "$@"; do
    [[ -s $log ]] || continue
    printf -- '--- last lines of %s\n' "$log" >&2
    tail -n 25 -- "$log" >&2
  done
  printf -- '---\n' >&2
}

# --- installing -------------------------------------------------------------

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo "$@"
  fi
}

# python_with MODULES: one that can import them. Debian's packages serve Debian's
# interpreter, which need not be the first one on the PATH.
python_with() {
  local python
  for python in python3 /usr/bin/python3; do
    if command -v "$python" >/dev/null && "$python" -c "import $1" 2>/dev/null; then
      printf '%s\n' "$python"
      return 0
    fi
  done
  return 1
}

rabbitmq_bin() {
  local folder
  for folder in /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin /opt/rabbitmq/sbin; do
    if [[ -x $folder/rabbitmq-server ]]; then
      printf '%s\n' "$folder"
      return 0
    fi
  done
  return 1
}

# The newest installed Postgres.
postgres_bin() {
  local folder newest=''
  while IFS= read -r folder; do
    [[ -x $folder/initdb && -x $folder/postgres ]] && newest=$folder
  done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -V)
  if [[ -z $newest ]] && folder=$(dirname "$(command -v initdb)") 2>/dev/null; then
    [[ -x $folder/initdb && -x $folder/postgres ]] && newest=$folder
  fi
  [[ -n $newest ]] && printf '%s\n' "$newest"
}

# Some tools are in folders that are not on everybody's PATH.
has_command() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

tool_is_there() {
  case $1 in
    rabbitmq) rabbitmq_bin >/dev/null ;;
    postgres) postgres_bin >/dev/null ;;
    openssl) command -v openssl >/dev/null ;;
    pika) python_with pika >/dev/null ;;
    cc) command -v cc >/dev/null && command -v pkg-config >/dev/null ;;
    xfs) has_command mkfs.xfs && has_command xfs_io ;;
    strace | iptables | pgbouncer) has_command "$1" ;;
    chromium) has_command chromium && has_command chromedriver ;;
    *) complain "unknown tool '$1'"; return 2 ;;
  esac
}

packages_of() {
  case $1 in
    rabbitmq) echo rabbitmq-server ;;
    postgres) echo postgresql ;;
    openssl) echo openssl ;;
    pika) echo python3 python3-pika ;;
    cc) echo build-essential pkg-config ;;
    xfs) echo xfsprogs ;;
    chromium) echo chromium chromium-driver ;;
    strace | iptables | pgbouncer) echo "$1" ;;
  esac
}

# install_missing TOOL...: installs the Debian packages of the tools that are not there.
install_missing() {
  local tool missing=() packages=()
  for tool in "$@"; do
    tool_is_there "$tool" && continue
    missing+=("$tool")
    read -ra words <<<"$(packages_of "$tool")"
    packages+=("${words[@]}")
  done
  ((${#missing[@]})) || return 0

  if ! command -v apt-get >/dev/null; then
    complain "missing here: ${missing[*]}. There is no apt-get to install them with: please install" \
      "the equivalents of these Debian packages: ${packages[*]}"
    return 1
  fi
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    complain "missing here: ${missing[*]}. Run this as root once: apt-get install ${packages[*]}"
    return 1
  fi
  echo "Installing Debian packages: ${packages[*]}"
  apt_install "${packages[@]}" || return 1
  for tool in "${missing[@]}"; do
    if ! tool_is_there "$tool"; then
      complain "the packages of '$tool' ($(packages_of "$tool")) were installed, but it is still not found"
      return 1
    fi
  done
}

# The packages' own services are of no use here, and must not take the usual
# ports of a machine by surprise: while packages are installed, a policy forbids
# starting them (one that exists already is left as it is), and afterwards what
# was newly installed is not started at boot either.
apt_install() {
  local log unit new_units=()
  log=$(mktemp "${TMPDIR:-/tmp}/hookwell-apt.XXXXXX")
  for unit in rabbitmq-server postgresql pgbouncer; do
    [[ " $* " == *" $unit "* ]] && ! dpkg-query -W -f '${db:Status-Status}' "$unit" 2>/dev/null | grep -qx installed \
      && new_units+=("$unit")
  done
  if ! (forbid_services && apt_get_install "$@" >>"$log" 2>&1); then
    complain "apt-get could not install: $*"
    show_log "$log"
    return 1
  fi
  if [[ -d /run/systemd/system ]] && ((${#new_units[@]})); then
    as_root systemctl disable -q "${new_units[@]}" >>"$log" 2>&1 || true
    echo "The services of these packages are installed, but neither running nor started at boot: ${new_units[*]}"
  fi
  rm -f "$log"
}

# Holds until the (sub)shell that calls it ends, however it ends.
forbid_services() {
  [[ ! -e /usr/sbin/policy-rc.d ]] || return 0
  trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # 101 means "not allowed".
  printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
  as_root chmod 755 /usr/sbin/policy-rc.d
}

apt_get_install() {
  local command=(
    as_root env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
  )
  if compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null && "${command[@]}" </dev/null; then
    return 0
  fi
  # No lists of packages, or ones so old that they name files that are gone.
  as_root apt-get update -q </dev/null
  "${command[@]}" </dev/null
}

# --- processes and ports ----------------------------------------------------

# The start time of a process in clock ticks; fails when it is gone or only
# waits to be reaped. With the pid it names a process for good: a pid alone may
# be another's by now.
process_started() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  local fields
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != [ZX] ]] && printf '%s\n' "${fields[19]}"
}

is_alive() {
  local started
  [[ -n ${1-} && -n ${2-} ]] && started=$(process_started "$1") && [[ $started == "$2" ]]
}

# end_process PID STARTED SIGNAL SECONDS: asks, waits, and then kills. CONT lets
# a stopped process hear the signal.
end_process() {
  local pid=$1 started=$2 signal=$3 tenths=$(($4 * 10))
  is_alive "$pid" "$started" || return 0
  kill -s "$signal" "$pid" 2>/dev/null || true
  kill -s CONT "$pid" 2>/dev/null || true
  while ((tenths-- > 0)); do
    is_alive "$pid" "$started" || return 0
    sleep 0.1
  done
  kill -s KILL "$pid" 2>/dev/null || true
  for ((tenths = 100; tenths > 0; tenths--)); do
    is_alive "$pid" "$started" || return 0
    sleep 0.1
  done
  complain "process $pid does not end"
  return 1
}

# launch PIDFILE LOG COMMAND...: starts a command in a session of its own, so
# that neither Ctrl-C nor the end of this script reaches it.
launch() {
  local pidfile=$1 log=$2 tries
  shift 2
  rm -f -- "$pidfile"
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c 'cd / && echo "$$" >"$0.new" && mv "$0.new" "$0" && exec "$@"' "$pidfile" "$@" \
    </dev/null >>"$log" 2>&1 &
  # Not a job of this shell: it would comment on its end.
  disown
  for ((tries = 0; tries < 100; tries++)); do
    [[ -s $pidfile ]] && return 0
    sleep 0.05
  done
  complain "could not start: $1"
  return 1
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# http_status PORT PATH: the status code of a GET, or nothing.
http_status() {
  local line=''
  {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 0
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r -t 2 line <&3 || true
    read -r -d '' -t 2 _ <&3 || true
    exec 3>&-
  } 2>/dev/null
  line=${line#* }
  printf '%s' "${line%% *}"
}

# Sets the variable named $1 to a port that nobody uses. It lies below the range
# from which the kernel takes ports for outgoing connections, so that it is
# still free when an instance is started again.
free_port() {
  local candidate hex tries
  for ((tries = 0; tries < 1000; tries++)); do
    candidate=$((10000 + RANDOM % 22000))
    printf -v hex '%04X' "$candidate"
    grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/tcp /proc/net/tcp6 && continue
    [[ " ${ports_given-} " == *" $candidate "* ]] && continue
    ports_given+=" $candidate"
    printf -v "$1" '%s' "$candidate"
    return 0
  done
  complain 'no free port found between 10000 and 32000'
  return 1
}

# cargo_target: the folder in which cargo leaves what it builds, of the project in this directory.
cargo_target() {
  cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# --- the record of an instance: DIR/env ---------------------------------------

# service_value DIR KEY
service_value() {
  local line
  while IFS= read -r line; do
    if [[ $line == "$2="* ]]; then
      printf '%s\n' "${line#*=}"
      return 0
    fi
  done <"$1/env"
  complain "$1/env has no $2"
  return 1
}

write_env() {
  local dir=$1
  shift
  (umask 077 && printf '%s\n' "$@" >"$dir/env.new")
  mv "$dir/env.new" "$dir/env"
}

# Sets $dir to the absolute path of a directory that can hold an instance.
prepare_dir() {
  dir=$(realpath -m -- "$1")
  if [[ $dir =~ [^A-Za-z0-9_./@+-] ]]; then
    complain "please choose a directory without spaces or special characters (the start scripts of RabbitMQ do not quote): $dir"
    return 1
  fi
  if [[ -e $dir/env ]]; then
    complain "$dir already holds an instance: use 'restart', or choose another directory"
    return 1
  fi
  mkdir -p -- "$dir"
}

# --- RabbitMQ -----------------------------------------------------------------

# start_rabbitmq DIR
start_rabbitmq() {
  local dir bin amqp_port dist_port epmd_port epmd_pid='' epmd_started='' attempt node join=${HOOKWELL_RABBITMQ_JOIN-}
  bin=$(rabbitmq_bin) || { complain 'RabbitMQ is not installed (Debian package rabbitmq-server)'; return 1; }
  prepare_dir "$1" || return 1
  node="hookwell-$(random_hex 6)@localhost"
  mkdir -p "$dir/home" "$dir/data" "$dir/log" "$dir/etc"
  if [[ -n $join ]]; then
    # Members find each other through one epmd.
    epmd_port=$(service_value "$join" EPMD_PORT) && epmd_pid=$(service_value "$join" EPMD_PID) \
      && epmd_started=$(service_value "$join" EPMD_STARTED) || return 1
    cp "$join/home/.erlang.cookie" "$dir/home/.erlang.cookie"
  else
    (umask 077 && random_hex 20 >"$dir/home/.erlang.cookie")
  fi
  chmod 400 "$dir/home/.erlang.cookie"

  # A port found free may be taken a moment later by someone else.
  for attempt in 1 2 3; do
    free_port amqp_port && free_port dist_port || return 1
    [[ -n $join ]] || free_port epmd_port || return 1
    configure_rabbitmq || return 1
    boot_rabbitmq && return 0
    if ((attempt < 3)) && grep -qsiE 'eaddrinuse|address already in use|in use by another' \
      "$dir/log/rabbitmq.log" "$dir/log/console.log" "$dir/log/epmd.log"; then
      rm -f "$dir"/log/*
      continue
    fi
    break
  done
  complain "RabbitMQ did not start in $dir"
  show_log "$dir/log/epmd.log" "$dir/log/console.log" "$dir/log/rabbitmq.log"
  return 1
}

# Writes the files of an instance from $dir, $bin, $node and the ports.
configure_rabbitmq() {
  cat >"$dir/etc/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp_port
log.file.level = info
disk_free_limit.absolute = 50MB
CONF
  if [[ -n ${HOOKWELL_MAX_MESSAGE_SIZE-} ]]; then
    if [[ ! $HOOKWELL_MAX_MESSAGE_SIZE =~ ^[1-9][0-9]*$ ]]; then
      complain "HOOKWELL_MAX_MESSAGE_SIZE must be a number of bytes, not '$HOOKWELL_MAX_MESSAGE_SIZE'"
      return 1
    fi
    echo "max_message_size = $HOOKWELL_MAX_MESSAGE_SIZE" >>"$dir/etc/rabbitmq.conf"
  fi
  if [[ -n $join ]]; then
    cat >>"$dir/etc/rabbitmq.conf" <<CONF
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = $(service_value "$join" NODE)
cluster_formation.classic_config.nodes.2 = $node
CONF
  fi
  if [[ -n ${HOOKWELL_RABBITMQ_FROM-} ]]; then
    echo "[{kernel, [{inet_dist_connect_options, [{ip, {${HOOKWELL_RABBITMQ_FROM//./,}}}]}]}]." >"$dir/etc/advanced.config"
  fi
  [[ -z ${HOOKWELL_RABBITMQ_CONF-} ]] || printf '%s\n' "$HOOKWELL_RABBITMQ_CONF" >>"$dir/etc/rabbitmq.conf"
  echo '[].' >"$dir/etc/enabled_plugins"

  # One environment for the server and for rabbitmqctl, and nothing from the
  # caller's: somebody's RABBITMQ_NODENAME must not lead either to another broker.
  cat >"$dir/etc/run" <<RUN
#!/bin/sh
# Runs one of RabbitMQ's own scripts against the instance in $dir.
command=\$1
shift
exec env -i \\
  PATH='$PATH' LANG=C.UTF-8 HOME='$dir/home' \\
  ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd_port \\
  RABBITMQ_NODENAME='$node' RABBITMQ_DIST_PORT=$dist_port \\
  RABBITMQ_CONF_ENV_FILE='$dir/etc/none' \\
  RABBITMQ_CONFIG_FILE='$dir/etc/rabbitmq.conf' \\
  RABBITMQ_ADVANCED_CONFIG_FILE='$dir/etc/advanced.config' \\
  RABBITMQ_GENERATED_CONFIG_DIR='$dir/etc/generated' \\
  RABBITMQ_ENABLED_PLUGINS_FILE='$dir/etc/enabled_plugins' \\
  RABBITMQ_MNESIA_BASE='$dir/data' RABBITMQ_LOG_BASE='$dir/log' \\
  RABBITMQ_LOGS='$dir/log/rabbitmq.log' RABBITMQ_PID_FILE='$dir/rabbitmq.pid' \\
  ERL_CRASH_DUMP='$dir/log/erl_crash.dump' \\
  RABBITMQ_ALLOW_INPUT=1 RABBITMQ_SERVER_START_ARGS=-noinput \\
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \\
  RABBITMQ_CTL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \\
  RABBITMQ_CTL_DIST_PORT_MIN=33000 RABBITMQ_CTL_DIST_PORT_MAX=60000 \\
  "$bin/\$command" "\$@"
RUN
  cat >"$dir/rabbitmqctl" <<RUN
#!/bin/sh
exec '$dir/etc/run' rabbitmqctl "\$@"
RUN
  chmod 755 "$dir/etc/run" "$dir/rabbitmqctl"
}

# Written before the broker is ready, so that whoever is interrupted can still end it.
record_rabbitmq() {
  write_env "$dir" KIND=rabbitmq \
    "AMQP_URL=amqp://guest:guest@127.0.0.1:$amqp_port/%2f" "AMQP_PORT=$amqp_port" "DIST_PORT=$dist_port" \
    "BEAM_PID=$beam_pid" "BEAM_STARTED=$beam_started" \
    "EPMD_PID=$epmd_pid" "EPMD_STARTED=$epmd_started" "EPMD_PORT=$epmd_port" \
    "NODE=$node" "RABBITMQCTL=$dir/rabbitmqctl" "LOG=$dir/log/rabbitmq.log"
}

epmd_bin() { command -v epmd || printf '%s\n' /usr/lib/erlang/erts-*/bin/epmd | head -n 1; }

# Starts epmd, unless it runs for another member of a cluster, and waits for it.
# One of our own: one started by the broker would outlive it unnoticed.
boot_epmd() {
  local epmd tenths
  is_alive "$epmd_pid" "$epmd_started" && return 0
  epmd=$(epmd_bin)
  launch "$dir/epmd.pid" "$dir/log/epmd.log" env -i "$epmd" -address 127.0.0.1 -port "$epmd_port" || return 1
  epmd_pid=$(<"$dir/epmd.pid")
  epmd_started=$(process_started "$epmd_pid") || return 1
  record_rabbitmq
  for ((tenths = 0; tenths < 100; tenths++)); do
    env -i "$epmd" -port "$epmd_port" -names >/dev/null 2>&1 && break
    sleep 0.1
  done
  if ! is_alive "$epmd_pid" "$epmd_started"; then
    echo "epmd ended at once: is port $epmd_port in use by another process?" >>"$dir/log/epmd.log"
    rm -f "$dir/env"
    return 1
  fi
}

# end_epmd PID STARTED PORT NODE: ends it behind a node, the last that it knew.
end_epmd() {
  local line
  is_alive "$1" "$2" || return 0
  while IFS= read -r line; do
    [[ $line != "name hookwell-"* || $line == "name ${4%@*} "* ]] || return 0
  done < <(env -i "$(epmd_bin)" -port "$3" -names 2>/dev/null)
  end_process "$1" "$2" TERM 5
}

# Starts epmd and the broker of $dir and waits for them; writes DIR/env.
boot_rabbitmq() {
  local beam_pid='' beam_started=''
  boot_epmd || return 1

  # What an earlier start said must not be taken for this one's.
  : >"$dir/log/console.log"
  [[ ! -e $dir/log/rabbitmq.log ]] || mv "$dir/log/rabbitmq.log" "$dir/log/rabbitmq.log.$(date +%s)"
  if ! launch "$dir/beam.pid" "$dir/log/console.log" "$dir/etc/run" rabbitmq-server; then
    end_epmd "$epmd_pid" "$epmd_started" "$epmd_port" "$node"
    rm -f "$dir/env"
    return 1
  fi
  beam_pid=$(<"$dir/beam.pid")
  beam_started=$(process_started "$beam_pid") || beam_started=gone
  record_rabbitmq

  local deadline=$((SECONDS + RABBITMQ_READY_SECONDS))
  while ((SECONDS < deadline)); do
    is_alive "$beam_pid" "$beam_started" || break
    # The listeners open a little before everything behind them is up.
    if grep -qsE 'Server startup complete|completed with' "$dir/log/rabbitmq.log" "$dir/log/console.log" \
      && port_answers "$amqp_port"; then
      return 0
    fi
    sleep 0.1
  done
  is_alive "$beam_pid" "$beam_started" && echo "not ready within $RABBITMQ_READY_SECONDS s" >>"$dir/log/console.log"
  end_process "$beam_pid" "$beam_started" TERM 2 || true
  end_epmd "$epmd_pid" "$epmd_started" "$epmd_port" "$node" || true
  rm -f "$dir/env"
  return 1
}

# --- Postgres -----------------------------------------------------------------

# Postgres refuses to run as root: root then runs it as another user.
as_postgres_user() {
  if ((EUID == 0)); then
    setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --init-groups --inh-caps=-all -- "$@"
  else
    "$@"
  fi
}

choose_postgres_user() {
  postgres_user=$(id -un)
  if ((EUID == 0)); then
    postgres_user=postgres
    id -u postgres >/dev/null 2>&1 || postgres_user=nobody
  fi
}

# Temporary folders are closed to other users. Lets them pass through (not look
# into) this one and those around it, as far as they are below the folder for
# temporary files.
let_through() {
  local folder=$1 top
  top=$(cd -- "${TMPDIR:-/tmp}" && pwd -P)
  chmod a+x "$folder"
  folder=${folder%/*}
  while [[ $folder == "$top"/* || $folder == /tmp/* ]] && [[ -O $folder ]]; do
    chmod a+x "$folder"
    folder=${folder%/*}
  done
}

# start_postgres DIR
start_postgres() {
  local dir bin port attempt postgres_user sockets
  bin=$(postgres_bin) || { complain 'Postgres is not installed (Debian package postgresql)'; return 1; }
  prepare_dir "$1" || return 1
  choose_postgres_user
  mkdir -p "$dir/postgres" "$dir/log"
  [[ -z ${HOOKWELL_POSTGRES_DATA-} ]] || ln -s "$HOOKWELL_POSTGRES_DATA" "$dir/postgres/data"
  if ((EUID == 0)); then
    let_through "$dir"
    chown "$postgres_user" "$dir/postgres"
    [[ ! -L $dir/postgres/data ]] || chown "$postgres_user" "$HOOKWELL_POSTGRES_DATA"
    if ! as_postgres_user test -x "$dir/postgres"; then
      complain "user '$postgres_user', as whom root runs Postgres, cannot reach $dir: choose a directory under /tmp"
      return 1
    fi
  fi
  chmod 700 "$dir/postgres"
  # The address of a unix socket holds 107 bytes at most.
  sockets=$dir/postgres
  ((${#sockets} < 85)) || sockets=''
  if ! as_postgres_user env -i PATH="$PATH" LANG=C TZ=UTC "$bin/initdb" -D "$dir/postgres/data" -U postgres \
    --auth=trust --encoding=UTF8 --locale=C </dev/null >"$dir/log/initdb.log" 2>&1; then
    complain "initdb failed in $dir"
    show_log "$dir/log/initdb.log"
    return 1
  fi

  for attempt in 1 2 3; do
    free_port port || return 1
    if boot_postgres && create_database; then
      return 0
    fi
    grep -qs 'Address already in use' "$dir/log/postgres.log" && ((attempt < 3)) && { rm -f "$dir/log/postgres.log"; continue; }
    break
  done
  complain "Postgres did not start in $dir"
  show_log "$dir/log/postgres.log"
  return 1
}

create_database() {
  env -i PATH="$PATH" "$bin/createdb" -h 127.0.0.1 -p "$port" -U postgres hookwell >>"$dir/log/postgres.log" 2>&1
}

# Starts the server of $dir on $port and waits for it; writes DIR/env. Durability
# is on, as it is by default, and not forced: tests turn it off to see it refused.
boot_postgres() {
  local pid started tries deadline command=(
    "$bin/postgres" -D "$dir/postgres/data" -c listen_addresses=127.0.0.1 -p "$port"
    -c unix_socket_directories="$sockets" -c max_connections=200
    -c timezone=UTC -c log_timezone=UTC -c lc_messages=C
  )
  if ((EUID == 0)); then
    command=(setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --init-groups --inh-caps=-all -- "${command[@]}")
  fi
  # After a kill -9 the old server's children need a moment to notice, and
  # until they are gone a new one refuses the data.
  for ((tries = 0; tries < 20; tries++)); do
    launch "$dir/postgres.pid" "$dir/log/postgres.log" env -i PATH="$PATH" LANG=C TZ=UTC "${command[@]}" || return 1
    pid=$(<"$dir/postgres.pid")
    started=$(process_started "$pid") || started=gone
    write_env "$dir" KIND=postgres \
      "PG_URL=postgres://postgres@127.0.0.1:$port/hookwell" "PG_PORT=$port" "PG_PID=$pid" "PG_STARTED=$started" \
      "PG_DATA=$dir/postgres/data" "PG_BIN=$bin" "PG_SOCKETS=$sockets" "LOG=$dir/log/postgres.log"
    deadline=$((SECONDS + POSTGRES_READY_SECONDS))
    while ((SECONDS < deadline)) && is_alive "$pid" "$started"; do
      if env -i PATH="$PATH" "$bin/pg_isready" -q -t 2 -h 127.0.0.1 -p "$port" -U postgres -d postgres; then
        return 0
      fi
      sleep 0.1
    done
    if is_alive "$pid" "$started"; then
      echo "not ready within $POSTGRES_READY_SECONDS s" >>"$dir/log/postgres.log"
      end_process "$pid" "$started" INT 5 || true
      break
    fi
    tail -n 5 "$dir/log/postgres.log" | grep -qE 'shared memory block|lock file "postmaster.pid" already exists' || break
    sleep 0.5
  done
  rm -f "$dir/env"
  return 1
}

# --- pgbouncer ------------------------------------------------------------------

# start_pgbouncer DIR
start_pgbouncer() {
  local dir bin port server attempt postgres_user
  bin=$(PATH=$PATH:/usr/sbin:/sbin command -v pgbouncer) || { complain 'pgbouncer is not installed (Debian package pgbouncer)'; return 1; }
  server=${HOOKWELL_PGBOUNCER_POSTGRES:?the port of a Postgres}
  prepare_dir "$1" || return 1
  choose_postgres_user
  mkdir -p "$dir/log"
  ((EUID != 0)) || let_through "$dir"
  echo '"postgres" ""' >"$dir/users"
  for attempt in 1 2 3; do
    free_port port || return 1
    cat >"$dir/pgbouncer.ini" <<CONF
[databases]
* = host=127.0.0.1 port=$server
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
${HOOKWELL_PGBOUNCER_CONF-}
CONF
    boot_pgbouncer && return 0
    grep -qs 'Address already in use' "$dir/log/pgbouncer.log" && ((attempt < 3)) && { rm -f "$dir/log/pgbouncer.log"; continue; }
    break
  done
  complain "pgbouncer did not start in $dir"
  show_log "$dir/log/pgbouncer.log"
  return 1
}

# Starts the pgbouncer of $dir on $port and waits for it; writes DIR/env.
boot_pgbouncer() {
  local pid started tenths command=("$bin" "$dir/pgbouncer.ini")
  if ((EUID == 0)); then
    command=(setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --init-groups --inh-caps=-all -- "${command[@]}")
  fi
  launch "$dir/pgbouncer.pid" "$dir/log/pgbouncer.log" env -i PATH="$PATH" LANG=C TZ=UTC "${command[@]}" || return 1
  pid=$(<"$dir/pgbouncer.pid")
  started=$(process_started "$pid") || started=gone
  write_env "$dir" KIND=pgbouncer "PG_URL=postgres://postgres@127.0.0.1:$port/hookwell" "PG_PORT=$port" \
    "PGBOUNCER_PID=$pid" "PGBOUNCER_STARTED=$started" "PGBOUNCER_BIN=$bin" "LOG=$dir/log/pgbouncer.log"
  for ((tenths = 0; tenths < 100; tenths++)); do
    is_alive "$pid" "$started" || break
    port_answers "$port" && return 0
    sleep 0.1
  done
  end_process "$pid" "$started" KILL 2 || true
  rm -f "$dir/env"
  return 1
}

# --- any instance ---------------------------------------------------------------

# stop_service DIR [at-once]: ends what was started in DIR. The data stays.
stop_service() {
  local at=$1 how=${2-} kind
  [[ -e $at/env ]] || return 0
  kind=$(service_value "$at" KIND) || return 1
  case $kind in
    rabbitmq)
      end_process "$(service_value "$at" BEAM_PID)" "$(service_value "$at" BEAM_STARTED)" \
        "$([[ $how == at-once ]] && echo KILL || echo TERM)" 20
      end_epmd "$(service_value "$at" EPMD_PID)" "$(service_value "$at" EPMD_STARTED)" \
        "$(service_value "$at" EPMD_PORT)" "$(service_value "$at" NODE)"
      ;;
    postgres)
      end_process "$(service_value "$at" PG_PID)" "$(service_value "$at" PG_STARTED)" \
        "$([[ $how == at-once ]] && echo QUIT || echo INT)" 20
      ;;
    pgbouncer)
      end_process "$(service_value "$at" PGBOUNCER_PID)" "$(service_value "$at" PGBOUNCER_STARTED)" \
        "$([[ $how == at-once ]] && echo KILL || echo TERM)" 20
      ;;
    *) complain "$at/env names an unknown kind: $kind"; return 1 ;;
  esac
}

# restart_service DIR: the same ports and data again, whatever ended it.
restart_service() {
  local dir bin kind saved
  if [[ ! -e $1/env ]]; then
    complain "$1 holds no instance"
    return 1
  fi
  dir=$(cd -- "$1" && pwd -P)
  stop_service "$dir" || return 1
  kind=$(service_value "$dir" KIND)
  saved=$(<"$dir/env")
  case $kind in
    rabbitmq)
      local amqp_port dist_port epmd_port epmd_pid epmd_started node
      bin=$(rabbitmq_bin) || return 1
      amqp_port=$(service_value "$dir" AMQP_PORT)
      dist_port=$(service_value "$dir" DIST_PORT)
      epmd_port=$(service_value "$dir" EPMD_PORT)
      epmd_pid=$(service_value "$dir" EPMD_PID)
      epmd_started=$(service_value "$dir" EPMD_STARTED)
      node=$(service_value "$dir" NODE)
      boot_rabbitmq && return 0
      show_log "$dir/log/epmd.log" "$dir/log/console.log" "$dir/log/rabbitmq.log"
      ;;
    postgres)
      local port sockets postgres_user
      bin=$(service_value "$dir" PG_BIN)
      port=$(service_value "$dir" PG_PORT)
      sockets=$(service_value "$dir" PG_SOCKETS)
      choose_postgres_user
      boot_postgres && return 0
      show_log "$dir/log/postgres.log"
      ;;
    pgbouncer)
      local port postgres_user
      bin=$(service_value "$dir" PGBOUNCER_BIN)
      port=$(service_value "$dir" PG_PORT)
      choose_postgres_user
      boot_pgbouncer && return 0
      show_log "$dir/log/pgbouncer.log"
      ;;
  esac
  # The record stays, so that it can be tried again.
  printf '%s\n' "$saved" >"$dir/env"
  complain "the $kind in $dir did not start again"
  return 1
}

# remove_service DIR: ends it at once and deletes the directory.
remove_service() {
  [[ -d $1 ]] || return 0
  stop_service "$1" at-once || true
  # Children of a killed server may write for a moment longer.
  rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
}

# keep_logs FOLDER: after a failure, leaves nothing of a folder with ended
# instances but its logs, and says where they are.
keep_logs() {
  find "$1" -type f ! -name '*.log' ! -name '*.log.*' -delete 2>/dev/null || true
  find "$1" -type s,p,l -delete 2>/dev/null || true
  find "$1" -depth -type d -empty -delete 2>/dev/null || true
  [[ ! -d $1 ]] || printf 'The logs are kept in %s\n' "$1" >&2
}

services_usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

services_main() {
  case "${1-}:$#" in
    rabbitmq:2) start_rabbitmq "$2" && grep -E '^(AMQP_URL|BEAM_PID|RABBITMQCTL)=' "$2/env" ;;
    postgres:2) start_postgres "$2" && grep -E '^(PG_URL|PG_PID)=' "$2/env" ;;
    pgbouncer:2) start_pgbouncer "$2" && grep -E '^(PG_URL|PGBOUNCER_PID)=' "$2/env" ;;
    restart:2) restart_service "$2" ;;
    stop:2) stop_service "$2" ;;
    remove:2) remove_service "$2" ;;
    install:*) shift; install_missing "$@" ;;
    -h:* | --help:*) services_usage ;;
    *) services_usage >&2; return 64 ;;
  esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  services_main "$@"
fi
