"""Consumes queues and logs every delivery in the order it came, for the fault bench.

  sink.py URL[,URL]... LOG QUEUE...

With several URLs it consumes from the first node that answers.
Deliveries are logged before they are acknowledged. Connects again for ever, and waits for queues that
are not there yet. Asks for the time first: each line "now" on stdin is answered with CLOCK_MONOTONIC in
nanoseconds; "zero N" says which of them is the zero of the log, and starts. Prints "ready" whenever it
consumes from all queues, and "seen N" when the number of different message ids has grown. SIGTERM writes
everything out and ends it.
"""

import hashlib
import json
import signal
import sys
import time

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

PREFETCH = 1000
ACK_EVERY = 200
FLUSH_SECONDS = 0.2

urls, path, queues = sys.argv[1].split(","), sys.argv[2], sys.argv[3:]
ending = False


def end(*_):
    global ending
    ending = True


def say(text):
    print(text, flush=True)


def zero():
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "now":
            say(time.monotonic_ns())
        elif word == "zero":
            return int(rest)
    sys.exit("sink: nobody said when to start")


signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
start = zero()
log = open(path, "a", buffering=1 << 20)
arrived = {queue: 0 for queue in queues}
ids, told = set(), 0


def write(queue, method, properties, body):
    arrived[queue] += 1
    ids.add(properties.message_id)
    log.write(json.dumps({
        "queue": queue,
        "n": arrived[queue],
        "id": properties.message_id or "",
        "position": (properties.headers or {}).get("hookwell-position", 0),
        "sha256": hashlib.sha256(body).hexdigest(),
        "redelivered": method.redelivered,
        "t": max(0, time.monotonic_ns() - start) // 1000,
    }) + "\n")


def flush():
    global told
    log.flush()
    if told != len(ids):
        told = len(ids)
        say(f"seen {told}")


class Queue:
    """A channel of its own, so that tags of one queue can be acknowledged up to the last one."""

    def __init__(self, connection, name):
        self.name, self.last, self.open = name, 0, 0
        self.channel = connection.channel()
        self.channel.basic_qos(prefetch_count=PREFETCH)
        self.channel.basic_consume(name, self.take)

    def take(self, channel, method, properties, body):
        write(self.name, method, properties, body)
        self.last, self.open = method.delivery_tag, self.open + 1
        if self.open >= ACK_EVERY:
            self.acknowledge()

    def acknowledge(self):
        if self.open:
            self.open = 0
            self.channel.basic_ack(self.last, multiple=True)


def parameters(url):
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 10
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = 10
    return parameters


def consume():
    connection = pika.BlockingConnection([parameters(url) for url in urls])
    try:
        consumers = [Queue(connection, name) for name in queues]
        say("ready")
        while not ending:
            connection.process_data_events(time_limit=FLUSH_SECONDS)
            for consumer in consumers:
                # A queue that is deleted ends its consumer and nothing else.
                if not consumer.channel.is_open or not consumer.channel.consumer_tags:
                    return
                consumer.acknowledge()
            flush()
    finally:
        if connection.is_open:
            connection.close()


trouble = ""
while not ending:
    try:
        consume()
    # A broker that is stopped in the midst of a handshake is told of in a way of its own.
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
        # The same one comes five times a second while a broker is away.
        if trouble != repr(error):
            trouble = repr(error)
            print(f"sink: {trouble}", file=sys.stderr, flush=True)
    flush()
    if not ending:
        time.sleep(0.2)
flush()
log.close()
