#!/usr/bin/env bash
# Starts compose.yaml beside it: hookwell, Postgres, RabbitMQ, Prometheus, Grafana.
#
#   bash deploy/compose/up.sh             makes what secrets are missing, builds, starts, waits until all is healthy
#   bash deploy/compose/up.sh --secrets   makes what secrets are missing, and starts nothing
#
# Secrets are random, in secrets/ beside this file (or in HOOKWELL_SECRETS). One
# that is there is left as it is: Postgres and RabbitMQ take their passwords at
# their first start only. More arguments go to `docker compose up`.
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
secrets=${HOOKWELL_SECRETS-$here/secrets}

only_secrets=''
case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
  --secrets) only_secrets=1; shift ;;
esac

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# keep NAME TEXT: writes a secret that is not there yet. All can read the file, as
# containers run as other users; only its owner can enter the folder.
keep() {
  [[ ! -e $secrets/$1 ]] || return 0
  printf '%s\n' "$2" >"$secrets/$1.new"
  chmod 444 "$secrets/$1.new"
  mv "$secrets/$1.new" "$secrets/$1"
  made+=("$1")
}

mkdir -p "$secrets"
chmod 700 "$secrets"
made=()
keep postgres_password "$(random_hex 24)"
# Without the line's end, which is no part of the password.
password=$(<"$secrets/postgres_password")
keep store_url "postgres://hookwell:$password@postgres:5432/hookwell"
keep rabbitmq_password.conf "default_user = hookwell
default_pass = $(random_hex 24)"
password=$(sed -n 's/^default_pass = //p' "$secrets/rabbitmq_password.conf")
keep broker_url "amqp://hookwell:$password@rabbitmq:5672/%2f"
keep admin_tokens "admin:$(random_hex 32)"
keep grafana_password "$(random_hex 24)"
((${#made[@]} == 0)) || echo "New in $secrets: ${made[*]}"
[[ -z $only_secrets ]] || exit 0

if grep -q '^id = "0123456789abcdef01234567"$' "$here/hookwell.toml"; then
  echo "Note: hookwell.toml has the app id of the example. Webhooks of your app are answered 403 until its id is there."
fi
exec docker compose -f "$here/compose.yaml" up --detach --build --wait --wait-timeout 900 "$@"
