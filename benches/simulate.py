#!/usr/bin/env python3
"""What hosts that nobody has here would carry: a simulation fed with the costs that were measured on two cores.

  simulate.py            the hosts and the loads of deploy/SCALING.md
  simulate.py SEED       the same with other random numbers

It says what the tables there cannot: how long answers take, what is answered 429 and comes again, how much waits in the
log, and how long after a peak or an outage it is gone. The way is the daemon's own: arrivals (Poisson, as a normal distribution) wait for a core
that verifies, then for the log, which commits what waits, one batch at a time; one relay publishes it; RabbitMQ takes it
into quorum queues. Parts on one host share its cores. A daemon with `max_waiting` requests answers 429, and GHL comes
again after a minute, two, four and so on, with jitter, twelve times (its documentation gives no delays). Time goes in steps
of 10 ms, and what is in one place is a number, not a list of events: an answer is as old as the queue before it is long.

First it is asked for what was measured, so that it can be wrong.
"""

import argparse
import random

STEP = 0.01
US = 1e-6
# µs of one core for an event (deploy/SCALING.md, "What an event costs"), the middle of each range.
VERIFY = {"sqlite": 67, "postgres": 49}
# And of whoever posts, where that is on the same host, as in the measurements.
GENERATOR = 30
APPEND = {"sqlite": 0, "postgres": 11}
RELAY, READ, BROKER = 17, 3, 58
# Parts that share cores and caches cost more together than the sum of each alone; found by what was measured below.
CONTENTION = 1.25
# One batch of the log: what it costs whatever is in it, s, and how many events it has at most (store.batch).
COMMIT, BATCH = {"sqlite": 0.001, "postgres": 0.0015}, 512
# One quorum queue is led by one Erlang process.
QUEUE = 12_500
MAX_WAITING, RETRIES = 4_096, 12


class Host:
    """Cores that parts share: each gets what it asks for, or as much as any other that wants more."""

    def __init__(self, cores):
        self.cores, self.asked, self.used = cores, {}, 0.0

    def shares(self):
        room, left = self.cores * STEP, len(self.asked)
        shares = {}
        for name, seconds in sorted(self.asked.items(), key=lambda one: one[1]):
            shares[name] = min(seconds, room / left)
            room, left = room - shares[name], left - 1
        self.used += sum(shares.values())
        self.asked = {}
        return shares


class World:
    def __init__(self, store, daemons, log, brokers, members, queues, seed, generator=0):
        self.random = random.Random(seed)
        self.verify = VERIFY[store] + generator
        self.store, self.daemons, self.log, self.brokers = store, daemons, log, brokers
        self.members, self.queues = members, queues
        self.hosts = list({id(host): host for host in [*daemons, log, *brokers]}.values())
        self.verifying = [0.0] * len(daemons)
        self.verified = 0.0
        self.committing, self.left = 0.0, 0.0
        self.backlog = 0.0
        self.again = {}
        self.seen = {"offered": 0, "new": 0.0, "refused": 0.0, "given_up": 0.0, "published": 0.0}
        self.waits, self.worst, self.tick = [], 0.0, 0

    def poisson(self, mean):
        if mean <= 0:
            return 0
        return max(0, round(self.random.gauss(mean, mean**0.5)))

    def come(self, rate, alive):
        """Posts of this moment, the first ones and those that come again."""
        first = self.poisson(rate * STEP)
        self.seen["offered"] += first
        posts = {0: first}
        for attempt, count in self.again.pop(self.tick, {}).items():
            posts[attempt] = posts.get(attempt, 0) + count
        room = sum(max(0.0, MAX_WAITING - self.verifying[n] - self.verified / len(alive)) for n in alive)
        total = sum(posts.values())
        taken = min(total, room) if alive else 0
        for n in alive:
            self.verifying[n] += taken / len(alive)
        self.seen["new"] += taken
        if taken < total:
            for attempt, count in posts.items():
                self.come_again(attempt + 1, count * (1 - taken / total))
        # An answer waits for a core, and for a commit or two.
        cores = sum(self.daemons[n].cores for n in alive) or 1
        ahead = sum(self.verifying) * self.verify * CONTENTION * US / cores
        self.waits.append((ahead + self.left + COMMIT[self.store] + self.verified * APPEND[self.store] * US, first))

    def come_again(self, attempt, count):
        self.seen["refused"] += count
        if RETRIES < attempt:
            self.seen["given_up"] += count
            return
        # Spread over ten parts, so that what was refused at once does not come at once.
        for _ in range(10):
            delay = 60 * 2 ** (attempt - 1) * self.random.uniform(0.75, 1.25)
            at = self.tick + max(1, round(min(delay, 43_200) / STEP))
            due = self.again.setdefault(at, {})
            due[attempt] = due.get(attempt, 0) + count / 10

    def step(self, rate, alive, broker_up=True):
        self.come(rate, alive)
        published_at_most = self.queues * QUEUE * STEP if broker_up else 0.0
        wanted = min(self.backlog, published_at_most, STEP / (RELAY * CONTENTION * US))
        for n in alive:
            self.ask(self.daemons[n], ("verify", n), self.verifying[n] * self.verify)
        self.ask(self.daemons[alive[0]] if alive else self.log, "relay", wanted * RELAY)
        self.ask(self.log, "log", self.committing * APPEND[self.store] + wanted * READ * (self.store == "postgres"))
        for host in self.brokers:
            self.ask(host, ("broker", id(host)), wanted * BROKER * self.members / len(self.brokers))
        shares = {}
        for host in self.hosts:
            for name, seconds in host.shares().items():
                shares[name] = shares.get(name, 0.0) + seconds
        for n in alive:
            done = min(self.verifying[n], shares.get(("verify", n), 0.0) / (self.verify * CONTENTION * US))
            self.verifying[n] -= done
            self.verified += done
        self.commit()
        limits = [shares.get("relay", 0.0) / (RELAY * CONTENTION * US)]
        taken = sum(shares.get(("broker", id(host)), 0.0) for host in self.brokers)
        limits.append(taken / (BROKER * CONTENTION * US * self.members))
        published = min([wanted, *limits])
        self.backlog -= published
        self.seen["published"] += published
        self.worst = max(self.worst, self.backlog)
        self.tick += 1

    def ask(self, host, name, micros):
        host.asked[name] = host.asked.get(name, 0.0) + micros * CONTENTION * US

    def commit(self):
        """One batch after the other; what waits goes into the next one."""
        time = STEP
        while time > 0:
            if self.left <= 0:
                if self.verified < 0.5:
                    return
                self.committing = min(self.verified, BATCH)
                self.verified -= self.committing
                self.left = COMMIT[self.store] + self.committing * APPEND[self.store] * US
            spent = min(time, self.left)
            self.left, time = self.left - spent, time - spent
            if self.left <= 0:
                self.backlog += self.committing
                self.committing = 0.0

    def p99(self):
        waits = sorted(self.waits)
        all_of_them = sum(count for _, count in waits) or 1
        over = 0
        for wait, count in reversed(waits):
            over += count
            if over >= 0.01 * all_of_them:
                return wait * 1e3
        return 0.0


def one_host(store, cores, seed, generator=0):
    host = Host(cores)
    return World(store, [host], host, [host], 1, 4, seed, generator)


def three_hosts(cores, broker_cores, log_cores, queues, seed):
    return World("postgres", [Host(cores) for _ in range(3)], Host(log_cores), [Host(broker_cores) for _ in range(3)], 3, queues, seed)


def run(world, phases):
    """Phases of (seconds, events a second, daemons that are there, whether RabbitMQ is); then until nothing waits."""
    for seconds, rate, daemons, broker_up in phases:
        for _ in range(round(seconds / STEP)):
            world.step(rate, list(range(daemons)), broker_up)
    mean, daemons = phases[-1][1], phases[-1][2]
    peak, began = world.backlog, world.tick
    while world.backlog > max(1.0, mean * 0.05) and world.tick - began < 4 * 3600 / STEP:
        world.step(mean, list(range(daemons)))
    return peak, (world.tick - began) * STEP


def show(name, world, peak, drained):
    seen = world.seen
    busiest = max(host.used / (host.cores * world.tick * STEP) for host in world.hosts)
    share = 100 * seen["refused"] / max(1, seen["offered"])
    gone = f"{drained:,.0f} s" if drained < 4 * 3600 else "never"
    print(f"| {name} | {world.p99():,.0f} ms | {share:.1f} % | {seen['given_up']:,.0f} | {world.worst:,.0f} | {gone} | {100 * busiest:.0f} % |")


def main():
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("seed", type=int, nargs="?", default=1, help="of the random numbers")
    seed = told.parse_args().seed
    print(f"Seed {seed}.\n\n## Against what was measured\n\n| | measured, events/s | simulated |\n|---|--:|--:|")
    for store, accepted, all_the_way in [("sqlite", "16,200", "8,500 to 13,000"), ("postgres", "19,100", "8,500 to 13,000")]:
        for up, measured in [(False, accepted), (True, all_the_way)]:
            world = one_host(store, 2, seed, GENERATOR)
            for _ in range(round(10 / STEP)):
                world.step(40_000, [0], up)
            done = world.seen["published"] / 10 if up else world.backlog / 10
            print(f"| {store}, {'all the way' if up else 'accepted, RabbitMQ away'} | {measured} | {done:,.0f} |")
    print("\n## Loads\n\n| | answer, p99 | 429s, of first posts | given up by GHL | most waiting | gone after | busiest host |\n|---|--:|--:|--:|--:|--:|--:|")
    one = lambda: one_host("sqlite", 2, seed)
    three = lambda: three_hosts(4, 8, 8, 12, seed)
    for name, world, phases in [
        ("one host, 2 cores, SQLite: 580/s, ten minutes of 5,800/s", one(), [(60, 580, 1, True), (600, 5_800, 1, True), (60, 580, 1, True)]),
        ("the same, RabbitMQ away for an hour at 580/s", one(), [(3_600, 580, 1, False)]),
        ("the same, a minute of 58,000/s", one(), [(60, 580, 1, True), (60, 58_000, 1, True), (300, 580, 1, True)]),
        ("three hosts: 2,300/s, ten minutes of 23,000/s", three(), [(60, 2_300, 3, True), (600, 23_000, 3, True), (60, 2_300, 3, True)]),
        ("the same, a daemon lost at the peak", three(), [(60, 2_300, 3, True), (600, 23_000, 2, True), (60, 2_300, 2, True)]),
        ("the same, RabbitMQ away for an hour at 2,300/s", three(), [(3_600, 2_300, 3, False)]),
    ]:
        show(name, world, *run(world, phases))


if __name__ == "__main__":
    main()
