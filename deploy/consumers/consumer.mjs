// Prints contact events from RabbitMQ. Needs: npm install amqplib
import amqp from "amqplib";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { count: { type: "string", default: "0" } } });
const wanted = Number(values.count); // end after so many events (0: never)
const url = process.env.AMQP_URL ?? "amqp://guest:guest@127.0.0.1:5672/%2f";
const seen = new Set(); // in a real consumer: a unique key in your database, written together with your change

const connection = await amqp.connect(url);
const channel = await connection.createChannel();
await channel.prefetch(100);
await channel.consume("hookwell.contacts", (message) => {
  if (message === null) throw new Error("the queue was deleted");
  if (wanted > 0 && seen.size >= wanted) return; // not acknowledged: it stays in the queue
  const { messageId, type, headers = {} } = message.properties;
  if (!seen.has(messageId)) { // delivery is at least once: the first copy counts
    seen.add(messageId);
    // message.content holds the very bytes that GoHighLevel signed: JSON.parse(message.content) gives the whole event.
    console.log(type, headers["ghl-location-id"], headers["ghl-entity-id"]);
  }
  channel.ack(message); // only after the work is done
  if (seen.size === wanted) channel.close().then(() => connection.close());
});
