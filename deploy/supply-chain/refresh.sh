#!/usr/bin/env bash
# Renews advisories.json from a checkout of the RustSec advisory database.
#
#   git clone --depth 1 https://github.com/rustsec/advisory-db
#   bash deploy/supply-chain/refresh.sh advisory-db [YYYY-MM-DD]
#
# The second argument is the date of the checkout; without it, the date of its
# last commit. Takes what concerns the crates of Cargo.lock and was not
# withdrawn. No registry has the database as a package.
#
# Without a checkout, by hand: look at https://rustsec.org/packages/CRATE.html
# for each crate of Cargo.lock (for a new one: for that one), write what is new
# into advisories.json, and the crate into "crates". "snapshot" may be set to the
# day on which all of them were looked at, and to no other.
set -euo pipefail
case ${1-} in
  '' | -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
database=$(cd "$1" && pwd)
[[ -d $database/crates ]] || { echo "$1 has no folder 'crates': is it the advisory database?" >&2; exit 66; }
date=${2-$(git -C "$database" log -1 --format=%cs)}
cd "$(dirname "${BASH_SOURCE[0]}")"

python3 - "$database" "$date" ../../Cargo.lock advisories.json <<'PYTHON'
import datetime, json, pathlib, re, sys, tomllib

database, snapshot, lock, out = sys.argv[1:]
datetime.date.fromisoformat(snapshot)
locked = tomllib.loads(pathlib.Path(lock).read_text())["package"]
crates = sorted({package["name"] for package in locked if "source" in package})

advisories = []
for crate in crates:
    for file in sorted(pathlib.Path(database, "crates", crate).glob("RUSTSEC-*.md")):
        front = re.match(r"```toml\n(.*?)\n```", file.read_text(), re.DOTALL)
        if not front:
            sys.exit(f"{file}: it does not begin with a block of TOML")
        data = tomllib.loads(front[1])
        about, versions = data["advisory"], data["versions"]
        if "withdrawn" in about:
            continue
        entry = {"id": about["id"], "crate": about["package"], "date": str(about["date"])}
        if "informational" in about:
            entry["informational"] = about["informational"]
        entry["patched"] = versions.get("patched", [])
        entry["unaffected"] = versions.get("unaffected", [])
        advisories.append(entry)

# An advisory a line, so that a refresh shows in a diff as what is new.
rows = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in advisories)
names = "\n".join(
    "    " + line for line in re.findall(r".{1,100}(?:, |$)", ", ".join(json.dumps(name) for name in crates))
).replace(", \n", ",\n")
pathlib.Path(out).write_text(
    "{\n"
    f'  "source": "https://github.com/rustsec/advisory-db",\n  "snapshot": "{snapshot}",\n'
    f'  "crates": [\n{names}\n  ],\n  "advisories": [\n{rows}\n  ]\n}}\n'
)
print(f"{out}: {len(advisories)} advisories that concern {len(crates)} crates, as of {snapshot}")
PYTHON
