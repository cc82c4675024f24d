"""Asks Prometheus and others, for tests/alerts.sh.

    ask.py ready URL SECONDS                        waits until it answers
    ask.py seen URL SECONDS LABEL=VALUE...          waits until a target with these labels is up
    ask.py gone URL SECONDS LABEL=VALUE...          waits until there is none any more
    ask.py quiet URL SECONDS NAME LABEL=VALUE...    waits until such an alert is neither pending nor firing
    ask.py fires URL SECONDS NAME RUNBOOK LABEL=VALUE...
          waits until it fires; then its labels must be these and severity, and its texts must be whole
    ask.py rules URL                                whether every rule could be evaluated
    ask.py fired URL SECONDS                        what fired in the last seconds, "JOB NAME" a line
    ask.py value URL METRIC                         of a daemon's /metrics
    ask.py http METHOD URL [BODY]                   prints the answer; fails where it is no 2xx
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def get(url, method="GET", body=None):
    request = urllib.request.Request(url, body.encode() if body else None, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def api(base, path, **query):
    answer = json.loads(get(f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def labels_of(words):
    return dict(word.split("=", 1) for word in words)


def active(base, name, labels):
    """Alerts of that name that have these labels, pending or firing."""
    return [
        alert
        for alert in api(base, "alerts")["alerts"]
        if alert["labels"]["alertname"] == name and labels.items() <= alert["labels"].items()
    ]


def wait(seconds, look, what):
    deadline = time.monotonic() + float(seconds)
    while True:
        try:
            found, last = look(), None
        except (OSError, ValueError, AssertionError) as error:
            found, last = None, error
        if found:
            return found
        if deadline < time.monotonic():
            sys.exit(f"{what} within {seconds} s" + (f" ({last})" if last else ""))
        time.sleep(0.25)


def rule(base, name):
    rules = [rule for group in api(base, "rules")["groups"] for rule in group["rules"]]
    return next(rule for rule in rules if rule["name"] == name)


def check(base, alert, name, runbook, labels):
    """What is wrong with an alert that fires."""
    its = rule(base, name)
    want = {"alertname": name, **its["labels"], **labels}
    if alert["labels"] != want:
        yield f"its labels are {alert['labels']}, not {want}"
    texts = alert["annotations"]
    if set(texts) != {"summary", "description", "runbook_url"}:
        yield f"its annotations are {sorted(texts)}"
    for key, text in texts.items():
        if not text.strip() or re.search(r"<error|<no value>|\{\{|\}\}|%!|\bNaN\b|\bInf\b|<nil>", text):
            yield f"its {key} is {text!r}"
    if texts.get("runbook_url") != f"RUNBOOK.md#{name.lower()}":
        yield f"its runbook_url is {texts.get('runbook_url')!r}"
    if f"\n## {name}\n" not in open(runbook).read():
        yield "the runbook has no such heading"


def fires(base, seconds, name, runbook, *words):
    labels = labels_of(words)

    def look():
        firing = [alert for alert in active(base, name, labels) if alert["state"] == "firing"]
        # Where others of its name fire too, it is the one with no more labels.
        return min(firing, key=lambda alert: len(alert["labels"]), default=None)

    try:
        alert = wait(seconds, look, "it did not fire")
    except SystemExit as error:
        its, now = rule(base, name), [one["state"] for one in active(base, name, labels)]
        sys.exit(f"{error}; it is {now or 'inactive'}, rule {its['health']} {its.get('lastError', '')}")
    if wrong := list(check(base, alert, name, runbook, labels)):
        sys.exit("it fires, and " + "; ".join(wrong))
    print(" ".join(alert["annotations"]["summary"].split()))


def rules(base):
    wrong = [
        f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"
        for group in api(base, "rules")["groups"]
        for rule in group["rules"]
        if rule["health"] != "ok"
    ]
    sys.exit("\n".join(wrong) or 0)


def seen(base, seconds, *words):
    labels = labels_of(words)
    query = "up{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "} == 1"
    wait(seconds, lambda: api(base, "query", query=query)["result"], f"{labels} is not scraped")


def gone(base, seconds, *words):
    labels = ",".join(f'{key}="{value}"' for key, value in labels_of(words).items())
    wait(seconds, lambda: not api(base, "query", query=f"up{{{labels}}}")["result"], f"{labels} is still scraped")


def fired(base, seconds):
    query = f'count by (job, alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s]))'
    for one in api(base, "query", query=query)["result"]:
        print(one["metric"].get("job", "-"), one["metric"]["alertname"])


def value(base, metric):
    found = re.search(rf"^{re.escape(metric)} (\S+)$", get(f"{base}/metrics"), re.M)
    print(int(float(found[1])) if found else 0)


def http(method, url, body=None):
    try:
        print(get(url, method, body))
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {url}: {error.code} {error.read().decode(errors='replace')[:300]}")


DEEDS = {
    "ready": lambda base, seconds: wait(seconds, lambda: get(f"{base}/-/ready"), "Prometheus is not ready"),
    "seen": seen,
    "gone": gone,
    "quiet": lambda base, seconds, name, *words: wait(
        seconds, lambda: not active(base, name, labels_of(words)), f"{name} is not over"
    ),
    "fires": fires,
    "rules": rules,
    "fired": fired,
    "value": value,
    "http": http,
}
DEEDS[sys.argv[1]](*sys.argv[2:])
