"""Prints contact events from RabbitMQ. Debian: apt install python3-pika; elsewhere: pip install pika."""
import argparse, os
import pika

parser = argparse.ArgumentParser()
parser.add_argument("--count", type=int, default=0, help="end after so many events (0: never)")
wanted = parser.parse_args().count
url = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
seen = set()  # in a real consumer: a unique key in your database, written together with your change


def handle(channel, method, properties, body):
    if properties.message_id not in seen:  # delivery is at least once: the first copy counts
        seen.add(properties.message_id)
        headers = properties.headers or {}
        # body holds the very bytes that GoHighLevel signed: json.loads(body) gives the whole event.
        print(properties.type, headers.get("ghl-location-id"), headers.get("ghl-entity-id"), flush=True)
    channel.basic_ack(method.delivery_tag)  # only after the work is done
    if len(seen) == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.basic_qos(prefetch_count=100)
channel.basic_consume("hookwell.contacts", handle)
channel.start_consuming()
connection.close()
