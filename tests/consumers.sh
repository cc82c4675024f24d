#!/usr/bin/env bash
# Runs the example consumers of deploy/consumers against a broker.
#
#   AMQP_URL=amqp://... bash tests/consumers.sh
#
# Each must print two contact events, of which the first is there twice. The
# Node one runs only where node and amqplib are installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/services.sh
. "$root/deploy/services.sh"
: "${AMQP_URL:?set AMQP_URL to the broker to use}"
export AMQP_URL

python=$(python_with pika) || { complain 'no Python with pika here (Debian package python3-pika)'; exit 1; }
limit=(timeout --kill-after=5 30)

# fill: three messages, one of them a copy. drain: the number left over.
broker() {
  "${limit[@]}" "$python" - "$1" <<'PYTHON'
import os, sys
import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
if sys.argv[1] == "fill":
    channel.queue_declare("hookwell.contacts", durable=True, arguments={"x-queue-type": "quorum"})
    for message_id, entity in (("event-1", "contact-a"), ("event-1", "contact-a"), ("event-2", "contact-b")):
        properties = pika.BasicProperties(
            message_id=message_id, type="ContactCreate", delivery_mode=2,
            headers={"ghl-location-id": "location-1", "ghl-entity-id": entity})
        channel.basic_publish("", "hookwell.contacts", b'{"type":"ContactCreate"}', properties)
else:
    print(channel.queue_delete("hookwell.contacts").method.message_count)
connection.close()
PYTHON
}

expected=$'ContactCreate location-1 contact-a\nContactCreate location-1 contact-b'
check() {
  local name=$1 printed left
  shift
  broker fill
  if ! printed=$("${limit[@]}" "$@" --count 2); then
    complain "$name ended with an error, or not within 30 s"
    broker drain >/dev/null
    return 1
  fi
  left=$(broker drain)
  if [[ $printed != "$expected" || $left != 0 ]]; then
    complain "$name printed the following and left $left messages in the queue:"
    printf '%s\n' "$printed" >&2
    return 1
  fi
  echo "$name: ok"
}

check consumer.py "$python" "$root/deploy/consumers/consumer.py"
if command -v node >/dev/null && (cd "$root/deploy/consumers" && node -e 'import("amqplib").catch(() => process.exit(1))'); then
  check consumer.mjs node "$root/deploy/consumers/consumer.mjs"
else
  echo 'consumer.mjs: not run (it needs node, and: npm install --prefix deploy/consumers amqplib)'
fi
