"""Makes the times of a rule file short, and says what it did: a line for each alert.

    shorten.py RULES SHORT     reads RULES, writes SHORT

`for:`, the ranges, the offsets and how far predict_linear looks ahead are replaced by those of TIMES. Nothing else of an expression changes.
"""

import re
import sys

# In order: what was shorter stays shorter. A range has to hold several scrapes, each a second apart.
TIMES = {
    "for": {"1m": "1s", "2m": "1s", "5m": "3s", "10m": "5s", "15m": "8s", "30m": "15s"},
    "range": {"2m": "8s", "5m": "10s", "15m": "12s", "30m": "16s", "1h": "20s", "1d": "40s", "1w": "80s"},
    # How far a range of an hour is drawn on.
    "ahead": {"4 * 3600": "4 * 20"},
}


def main(source, target):
    alerts, made, name = {}, [], None

    def replaced(what, kind, time):
        if time not in TIMES[kind]:
            sys.exit(f"error: {name} has {what % time}, for which there is no short time here")
        note = f"{what % time} is {TIMES[kind][time]}"
        if note not in alerts[name]:
            alerts[name].append(note)
        return what % TIMES[kind][time]

    for line in open(source):
        if found := re.match(r"\s+- alert: (\w+)$", line):
            name = found[1]
            alerts[name] = []
        elif name and not line.lstrip().startswith("#"):
            if found := re.match(r"(\s+)for: (\w+)$", line):
                line = found[1] + replaced("for: %s", "for", found[2]) + "\n"
            elif not re.match(r"\s+(summary|description|runbook_url):", line):
                line = re.sub(r"\[(\d+[smhdw])\]", lambda found: replaced("[%s]", "range", found[1]), line)
                line = re.sub(r"\b4 \* 3600\b", lambda found: replaced("%s", "ahead", found[0]), line)
                line = re.sub(r"\boffset (\d+[smhdw])\b", lambda found: replaced("offset %s", "range", found[1]), line)
        made.append(line)
    with open(target, "w") as out:
        out.writelines(made)
    for name, notes in alerts.items():
        print(f"{name}  {', '.join(notes)}")


main(*sys.argv[1:])
