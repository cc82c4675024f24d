"""A log of made-up events for benches/ten_million.sh: the same on both stores.

  fill.py events N NOW FACTS           the table `events` on stdout, as Postgres copies it in binary; what was made goes into FACTS
  fill.py beside N NOW FACTS           SQL for everything beside the events, for Postgres
  fill.py state FACTS all|waiting      SQL that says that everything is published, or that a tenth of the log waits
  fill.py sqlite FILE N NOW FACTS      the events, the keys and everything beside them in one go, into a file that has the schema
  fill.py sqlite-state FILE FACTS all|waiting

NOW is in microseconds since 1970: the log is the twenty days before it.
"""

import base64
import datetime
import hashlib
import json
import random
import sqlite3
import struct
import sys
import time

APP = "65f0c0ffee65f0c0ffee65f0"
DAYS = 20
TENANTS, COMPANIES = 2000, 100
CONTACTS = 400
DISCARDED, HELD_TENANTS = 40, 12
HOUR, DAY = 3_600_000_000, 86_400_000_000

# What GHL sends, in shares of a hundred thousand.
TYPES = [
    ("ContactUpdate", 24000), ("OutboundMessage", 15000), ("InboundMessage", 12000), ("ConversationUnreadUpdate", 9000),
    ("ContactTagUpdate", 8000), ("ContactCreate", 6000), ("OpportunityUpdate", 4500), ("AppointmentUpdate", 3000),
    ("OpportunityStageUpdate", 2600), ("TaskCreate", 2400), ("NoteCreate", 2200), ("contact.snapshot", 2000), ("LCEmailStats", 1800),
    ("AppointmentCreate", 1500), ("OpportunityCreate", 1200), ("TaskComplete", 1000), ("OpportunityStatusUpdate", 900),
    ("InvoiceUpdate", 700), ("ContactDndUpdate", 600), ("InvoicePaid", 400), ("OrderCreate", 300), ("RecordUpdate", 260),
    ("ContactDelete", 200), ("RecordCreate", 150), ("CampaignStatusUpdate", 120), ("UserUpdate", 90), ("OpportunityDelete", 50),
    ("INSTALL", 20), ("UNINSTALL", 8), ("UserCreate", 2),
]
FREQUENT, RARE, ABSENT = "ContactUpdate", "SupportTicketDelete", "SaasPlanCreate"

WORDS = (
    "appointment budget callback delivery estimate follow garden house invoice kitchen later meeting morning next offer "
    "please quote roof service tomorrow update visit window yesterday address booking contract customer deposit evening "
    "friday insurance monday number office payment phone plumber question receipt schedule thanks tuesday warranty week"
).split()

HEAD = '{"type":"%s","locationId":"%s",'
TAIL = (
    ',"dateAdded":"%s","appId":"' + APP + '","versionId":"' + APP + '","timestamp":"%s","webhookId":"%s"}'
)
CONTACT = (
    '"id":"%s","firstName":"Maria","lastName":"Feldmann","email":"maria.feldmann.%s@example.com","phone":"+15550100",'
    '"address1":"3535 1st St N","city":"Dolomite","state":"AL","country":"US","source":"public api","tags":["lead","walk in"],'
    '"customFields":[{"id":"BcdmQsmoRfZ1bKaRm1aD","value":"%s"}]'
)
OTHER = '"id":"%s","contactId":"%s","assignedTo":"bNl8QNGXhIQJLv8eeASQ","status":"open","name":"%s"'
MESSAGE = (
    '"messageId":"%s","contactId":"%s","conversationId":"fcanlLgpbQgQhderivVs","direction":"inbound","messageType":"SMS",'
    '"contentType":"text/plain","status":"delivered","attachments":[],"body":"%s"'
)


def location(n):
    return "L%04dq7VbT2mKx9RwZc3H" % n


def company(n):
    return "C%03dhT5yPq8NvJ2sLd4Gk6" % n


def contact(tenant, n):
    return "k%04dR%03dfW8uYbE3pMx6D" % (tenant, n)


def moment(micros):
    at = datetime.datetime.fromtimestamp(micros / 1e6, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (micros % 1_000_000 // 1000)


def table(weights):
    """Values by a sixteen-bit number, as often as their weights say."""
    total, found, sum_so_far = sum(weight for _, weight in weights), [], 0
    for value, weight in weights:
        sum_so_far += weight
        found += [value] * (round(sum_so_far * 65536 / total) - len(found))
    return found


class Log:
    """The events, and what is to be known of them."""

    def __init__(self, count, now):
        self.count, self.now, self.start = count, now, now - DAYS * DAY
        self.step = DAYS * DAY / count
        # Some tenants have a hundred times as much as others.
        self.tenants = table([(n, 1 / (n + 40)) for n in range(TENANTS - 1)])
        self.types = table(TYPES)
        self.first, self.last, self.gap = {}, {}, {}
        every = max(count // 3000, 20)
        self.parked = [n for n in range(every // 2, int(count * 0.84), every)]
        self.discarded = set(range(every // 3, int(count * 0.8), max(int(count * 0.8) // DISCARDED, 1)))
        self.discarded = set(sorted(self.discarded)[:DISCARDED]) - set(self.parked)

    def received(self, position):
        return self.start + int(position * self.step)

    def rows(self):
        rng = random.Random(20261128)
        bits, some_bytes, types, tenants, discarded = rng.getrandbits, rng.randbytes, self.types, self.tenants, self.discarded
        first, last, gap = self.first, self.last, self.gap
        locations = [location(n) for n in range(TENANTS)]
        companies = [company(n % COMPANIES) for n in range(TENANTS)]
        text = " ".join(rng.choice(WORDS) for _ in range(20000))
        rare = set(range(3, min(self.count, 1000), 200))
        only_once = {self.count // 3, self.count // 3 + 7}
        at = ""
        for position in range(1, self.count + 1):
            received = self.start + int(position * self.step)
            if not at or position % 500 == 0:
                at = moment(received)
            random_bits = bits(256)
            digits = "%032x" % (random_bits & (1 << 128) - 1)
            key = digits[:8] + "-" + digits[8:12] + "-4" + digits[13:16] + "-a" + digits[17:20] + "-" + digits[20:]
            random_bits >>= 128
            event_type = types[random_bits & 0xFFFF]
            tenant = tenants[random_bits >> 16 & 0xFFFF]
            if position in only_once:
                tenant = TENANTS - 1
            who = "k%04dR%03dfW8uYbE3pMx6D" % (tenant, (random_bits >> 32 & 0xFFFF) % CONTACTS)
            begin, size = random_bits >> 48 & 0x1FFFF, (random_bits >> 65) % 400
            said = text[begin : begin + size] if begin + size < len(text) else text[:size]
            if event_type[:7] == "Contact" or event_type[:7] == "contact":
                entity, body = who, CONTACT % (who, who, said[:320])
            elif event_type[-7:] == "Message":
                entity, body = digits[:20], MESSAGE % (digits[:20], who, said)
            else:
                entity, body = digits[:24], OTHER % (digits[:24], who, said)
                if size < 60:
                    body += ',"notes":"' + text[begin % 90000 : begin % 90000 + 120] + '"'
            place, owner, origin = locations[tenant], None, "webhook"
            signature = base64.b64encode(some_bytes(64)).decode()
            if event_type == "contact.snapshot":
                origin, signature = "follow_up", None
                key = "contact-snapshot-%d" % position
            elif event_type[-7:] == "INSTALL":
                entity, owner = None, companies[tenant]
            if position in rare:
                event_type, place, owner = RARE, None, companies[tenant]
            if origin == "webhook":
                name = place or owner
                before = last.get(name)
                if before is None:
                    first[name], gap[name] = received, 0
                elif received - before > gap[name]:
                    gap[name] = received - before
                last[name] = received
            if position in discarded:
                continue
            body = (HEAD % (event_type, place or "") + body + TAIL % (at, at, key)).encode()
            yield position, key, APP, event_type, owner, place, entity, origin, signature, received, hashlib.sha256(body).digest(), body

    def facts(self):
        rare_contact = contact(700, 7)
        return {
            "count": self.count, "now": self.now, "days": DAYS, "parked": self.parked, "discarded": sorted(self.discarded),
            "held_after": int(self.count * 0.85), "held_tenants": [location(900 + n) for n in range(HELD_TENANTS)],
            "frequent_type": FREQUENT, "rare_type": RARE, "absent_type": ABSENT, "frequent_tenant": location(0),
            "rare_tenant": location(TENANTS - 1), "absent_tenant": "L9999q7VbT2mKx9RwZc3H", "contact": rare_contact,
            "tenants": [[name, self.first[name], self.last[name], self.gap[name]] for name in self.last],
        }


# --- beside the events ------------------------------------------------------------


def quoted(value):
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def inserts(name, columns, rows, blobs=()):
    """Statements of 500 rows each; `blobs` are the columns that hold bytes, given in hexadecimal."""
    lines = []
    for row in rows:
        values = [("BLOB(" + value + ")") if n in blobs and value is not None else quoted(value) for n, value in enumerate(row)]
        lines.append("(" + ", ".join(values) + ")")
    for n in range(0, len(lines), 500):
        yield f"insert into {name} ({columns}) values " + ",\n".join(lines[n : n + 500]) + ";\n"


def calls(count):
    """A call for about every tenth event, most of them done; most of the other kinds are where they rarely are looked for."""
    contacts = "event_type in ('ContactUpdate', 'ContactCreate')"
    columns = (
        "insert into follow_ups (position, rule, app_id, tenant, entity_id, state, due_at, claimed, lease, attempt, progress, "
        "planned_at, ended_at, status, reason, detail) "
    )
    ends = "case when state = 'pending' then null else received_at + 900000 end"
    status = "case state when 'done' then 200 when 'dead' then 422 end"
    reason = "case state when 'dead' then 'refused' when 'merged' then 'into ' || position when 'cancelled' then 'uninstalled' end"
    state = (
        f"case when position > {count - max(count // 800, 400)} then 'pending' when position % 1003 = 5 then 'dead' "
        f"when position < {count // 900} then 'cancelled' when position % 41 = 3 then 'merged' else 'done' end"
    )
    inner = (
        f"select position, event_type, app_id, location_id, entity_id, received_at, {state} as state from events "
        f"where {contacts} and location_id is not null and position % 3 = 0 order by position"
    )
    # The few first: who looks for them has to look behind all others.
    few = "received_at + 200000, false, 1, 1, '{\"page\": 3, \"all\": 240, \"found\": 240, \"lacking\": 2}', received_at + 200000, received_at + 60000000, 200, null, null"
    for rule, event_type, most in (("opportunity-notify", "OpportunityCreate", 500), ("hookwell.backfill/contacts", "INSTALL", 80), ("hookwell.reconcile", "UserUpdate", 80)):
        yield (
            f"{columns} select position, '{rule}', app_id, location_id, entity_id, 'done', {few} from events where event_type = '{event_type}' "
            f"and position < {count // 20} and location_id is not null order by position limit {most};\n"
        )
    yield (
        f"{columns} select position, 'contact-snapshot', app_id, location_id, entity_id, state, received_at + 200000, false, 1, 1, '{{}}', "
        f"received_at + 200000, {ends}, {status}, {reason}, case when state = 'dead' then 'GHL answered 422' end from ({inner}) calls;\n"
    )


def beside(facts):
    """SQL for both; bytes stand as BLOB(hexadecimal)."""
    count, now = facts["count"], facts["now"]
    rng = random.Random(7)
    received = lambda position: now - facts["days"] * DAY + int(position * facts["days"] * DAY / count)
    yield f"update log_head set position = {count};\n"
    yield f"update cursors set position = {count};\n"
    yield f"update cursors set discarded = {len(facts['discarded'])} where reader = 'relay';\n"
    yield from inserts(
        "dead_letters", "position, reason, detail, parked_at, retries, state",
        [(p, "refused", "PRECONDITION_FAILED - message size 1204 is larger than configured max size 1024", received(p) + 4_000_000, p % 3, "parked")
         for p in facts["parked"]],
    )
    yield from inserts("tenants", "tenant, first_at, last_at, longest_gap", facts["tenants"])
    bodies = [
        (HEAD % ("ContactCreate", location(n % TENANTS)) + CONTACT % (contact(n % TENANTS, 3), "x", " ".join(rng.choices(WORDS, k=20 + n % 30)))
         + TAIL % (moment(now - n * HOUR // 8), moment(now - n * HOUR // 8), "00000000-0000-4000-8000-%012d" % n)).encode()
        for n in range(1000)
    ]
    yield from inserts(
        "quarantine", "fingerprint, reason, path, signature, first_seen_at, last_seen_at, attempts, body",
        [(hashlib.sha256(body).hexdigest(), "signature_wrong" if n % 5 else "signature_missing", "/webhooks/ghl",
          base64.b64encode(rng.randbytes(64)).decode() if n % 5 else None, now - n * HOUR // 8 - HOUR, now - n * HOUR // 8, 1 + n % 12, body.hex())
         for n, body in enumerate(bodies)], blobs=(0, 7),
    )
    names = [(location(n), "location", company(n % COMPANIES)) for n in range(TENANTS)] + [(company(n), "company", company(n)) for n in range(COMPANIES)]
    state = lambda n: "uninstalled" if n % 29 == 28 else "installed"
    yield from inserts(
        "installations",
        "app_id, tenant, account, company_id, state, generation, changed_at, installed_at, uninstalled_at, company_name, plan_id, version_id",
        [(APP, name, account, owner, state(n), 1, now - 40 * DAY, now - 60 * DAY, None if n % 29 != 28 else now - 40 * DAY, f"Agency {n % COMPANIES}",
          "66a0419a0dffa47fb5f8b22f", APP) for n, (name, account, owner) in enumerate(names)],
    )
    yield from inserts(
        "tokens", "app_id, tenant, account, company_id, access_token, refresh_token, scope, obtained_at, expires_at, state, version",
        [(APP, name, account, owner, rng.randbytes(900).hex(), rng.randbytes(900).hex(), "contacts.readonly opportunities.readonly", now - HOUR,
          now + 20 * HOUR, "reauthorise" if n % 401 == 400 else "usable", 9) for n, (name, account, owner) in enumerate(names) if state(n) == "installed"],
        blobs=(4, 5),
    )
    # The calls of 24 hours, by the minute.
    yield from inserts("call_budgets", "app_id, tenant, served_at", [(APP, name, now - HOUR) for name, _, _ in names])
    yield from inserts(
        "audit", "at, who, action, subject, affected",
        [(now - (5000 - n) * HOUR // 12, rng.choice(["ada", "grace", "edsger"]), rng.choice(["retry_dead_letters", "admit", "replay", "retry_follow_ups"]),
          f"position {n * 17 + 1}", 1 + n % 9) for n in range(5000)],
    )
    yield from inserts("gaps", "since_at, until_at, repaired_at", [(now - n * DAY, now - n * DAY + 95 * 60_000_000, now - n * DAY + 2 * HOUR) for n in range(1, 41)])
    yield from inserts(
        "replays", "asked_at, who, event_type, tenant, after, upto, rate, matched, state, position, published, failed, ended_at",
        [(now - (200 - n) * HOUR, "ada", FREQUENT if n % 2 else None, None, n * 100, n * 100 + 90, 50, 80, "done", n * 100 + 90, 80, 0, now - (200 - n) * HOUR + 90)
         for n in range(200)],
    )
    yield from inserts("webhook_answers", "hour, ok, failed", [(now // HOUR - n, count // (24 * DAYS), 3) for n in range(1, 72)])
    yield f"insert into acceptance (id, until_at) values (1, {now}) on conflict (id) do update set until_at = {now};\n"
    yield from calls(count)


def as_state(facts, which):
    """SQL for the relay's cursor, at the head or a tenth of the log before it, with what is held up to there."""
    upto = "(select position from log_head)" if which == "all" else f"(select position - {facts['count'] // 10} from log_head)"
    held = ", ".join(quoted(name) for name in facts["held_tenants"])
    yield "delete from held_events;\ndelete from held_tenants;\n"
    # While the log was filled no webhook was missed.
    yield f"update acceptance set until_at = {time.time_ns() // 1000};\n"
    yield (
        f"insert into held_events (position, tenant) select position, location_id from events where position > {facts['held_after']} "
        f"and position <= {upto} and location_id in ({held}) and not exists (select 1 from dead_letters d where d.position = events.position);\n"
    )
    yield (
        "insert into held_tenants (tenant, reason, detail, since, events) select first.tenant, 'rejected', 'RabbitMQ did not take it: is a queue full?', "
        "e.received_at, first.events from (select tenant, min(position) as position, count(*) as events from held_events group by tenant) first "
        "join events e on e.position = first.position;\n"
    )
    yield (
        f"update cursors set position = {upto}, published = {upto} - discarded - (select count(*) from held_events) "
        "- (select count(*) from dead_letters) where reader = 'relay';\n"
    )


# --- Postgres and SQLite ------------------------------------------------------------


def copied(log, out):
    """Binary COPY: a field is its length and its bytes."""
    out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    number, size = struct.Struct(">iq").pack, struct.Struct(">i").pack
    null, app, parts = size(-1), size(len(APP)) + APP.encode(), []
    start = struct.pack(">h", 12)

    def text(value):
        if value is None:
            return null
        return size(len(value)) + value.encode()

    for position, key, _, event_type, owner, place, entity, origin, signature, received, digest, body in log.rows():
        parts += (
            start, number(8, position), text(key), app, text(event_type), text(owner), text(place), text(entity), text(origin), text(signature),
            number(8, received), size(32), digest, size(len(body)), body,
        )
        if len(parts) > 30000:
            out.write(b"".join(parts))
            parts.clear()
    out.write(b"".join(parts) + struct.pack(">h", -1))
    out.flush()


def sqlite(file):
    at = sqlite3.connect(file, isolation_level=None)
    at.execute("pragma busy_timeout = 10000")
    return at


def fill_sqlite(file, log, facts_file):
    at = sqlite(file)
    at.execute("pragma journal_mode = off")
    for pragma in ("synchronous = off", "locking_mode = exclusive", "cache_size = -524288", "threads = 2", "temp_store = file"):
        at.execute("pragma " + pragma)
    at.execute("begin")
    at.executemany("insert into events values (" + ",".join("?" * 12) + ")", log.rows())
    at.execute("commit")
    facts = log.facts()
    keep(facts, facts_file)
    at.execute("begin")
    at.execute("insert into event_keys select event_key, app_id, position, received_at, body_hash from events order by event_key, app_id")
    # Their keys stay.
    at.executemany(
        "insert into event_keys values (?, ?, ?, ?, ?)",
        [(f"discarded-{p}", APP, p, log.received(p), bytes(32)) for p in facts["discarded"]],
    )
    for statement in beside(facts):
        at.execute(blobs(statement, "x'", "'"))
    at.execute("commit")
    at.close()
    at = sqlite(file)
    at.execute("pragma journal_mode = wal")
    at.close()


def blobs(statement, left, right):
    """BLOB(…) as a database writes it: hexadecimal digits have no parenthesis."""
    parts = statement.split("BLOB(")
    return parts[0] + "".join(left + part.replace(")", right, 1) for part in parts[1:])


def keep(facts, file):
    with open(file, "w") as out:
        json.dump(facts, out)


def known(file):
    with open(file) as lines:
        return json.load(lines)


def main(what, *words):
    if what == "events":
        log = Log(int(words[0]), int(words[1]))
        copied(log, sys.stdout.buffer)
        keep(log.facts(), words[2])
    elif what == "beside":
        facts = known(words[2])
        for statement in beside(facts):
            sys.stdout.write(blobs(statement, "'\\x", "'"))
        log = Log(facts["count"], facts["now"])
        for position in facts["discarded"]:
            print(f"insert into event_keys values ('discarded-{position}', '{APP}', {position}, {log.received(position)}, '\\x{'00' * 32}');")
    elif what == "state":
        sys.stdout.write("".join(as_state(known(words[0]), words[1])))
    elif what == "sqlite":
        fill_sqlite(words[0], Log(int(words[1]), int(words[2])), words[3])
    elif what == "sqlite-state":
        at = sqlite(words[0])
        at.execute("begin immediate")
        for statement in as_state(known(words[1]), words[2]):
            for one in statement.split(";\n"):
                at.execute(one)
        at.execute("commit")
        at.execute("pragma wal_checkpoint(truncate)")
        at.close()
    else:
        raise SystemExit(f"fill.py: unknown word {what!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
