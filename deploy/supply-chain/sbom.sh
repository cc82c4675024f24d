#!/usr/bin/env bash
# The software bill of materials of the released binary: CycloneDX 1.5 as JSON.
#
#   bash deploy/supply-chain/sbom.sh > hookwell.cdx.json
#   bash deploy/supply-chain/sbom.sh aarch64-unknown-linux-gnu > hookwell.cdx.json
#
# What is linked into the binary for the target, without build scripts, derive
# macros and tests; and the C library that is compiled in. Needs no network once
# the crates are there. The same commit gives the same bytes: the time is
# SOURCE_DATE_EPOCH, or that of the last commit.
set -euo pipefail
case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=${1-$(rustc -vV | sed -n 's/^host: //p')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo tree --locked --offline --target "$target" --edges normal,no-proc-macro --prefix depth --format '|{p}|' >"$work/tree"
cargo metadata --locked --offline --filter-platform "$target" --format-version 1 >"$work/metadata"
time=${SOURCE_DATE_EPOCH-$(git log -1 --format=%ct)}

python3 - "$work/tree" "$work/metadata" Cargo.lock "$target" "$time" <<'PYTHON'
import datetime, hashlib, json, pathlib, re, sys, tomllib, uuid

tree, metadata, lock, target, time = sys.argv[1:]
metadata = json.loads(pathlib.Path(metadata).read_text())
packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
checksums = {
    (package["name"], package["version"]): package.get("checksum")
    for package in tomllib.loads(pathlib.Path(lock).read_text())["package"]
}

# A line is "DEPTH|NAME vVERSION ...|": the edges follow from the depths.
edges, path = {}, []
for line in pathlib.Path(tree).read_text().splitlines():
    depth, package = line.split("|")[:2]
    name, version = package.split(" ")[:2]
    key = (name, version.removeprefix("v"))
    edges.setdefault(key, set())
    del path[int(depth):]
    if path:
        edges[path[-1]].add(key)
    path.append(key)
root = path[0]


def purl(key):
    return f"pkg:cargo/{key[0]}@{key[1].replace('+', '%2B')}"


def component(key, kind):
    package = packages[key]
    entry = {"type": kind, "bom-ref": purl(key), "name": key[0], "version": key[1]}
    if package.get("description"):
        entry["description"] = " ".join(package["description"].split())
    entry["scope"] = "required"
    if checksums[key]:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksums[key]}]
    if package.get("license"):
        # The slash of old manifests is SPDX's OR.
        entry["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    entry["purl"] = purl(key)
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


components = [component(key, "library") for key in sorted(edges) if key != root]
dependencies = {purl(key): sorted(purl(to) for to in targets) for key, targets in edges.items()}

# SQLite comes as a C file inside its -sys crate, and advisories name it and not the crate.
for key in edges:
    if key[0] == "libsqlite3-sys":
        header = pathlib.Path(packages[key]["manifest_path"]).parent / "sqlite3" / "sqlite3.h"
        version = re.search(r'#define SQLITE_VERSION\s+"([^"]+)"', header.read_text())[1]
        reference = f"pkg:generic/sqlite@{version}"
        components.append({
            "type": "library", "bom-ref": reference, "name": "sqlite", "version": version, "scope": "required",
            "licenses": [{"license": {"id": "blessing"}}], "purl": reference,
            "cpe": f"cpe:2.3:a:sqlite:sqlite:{version}:*:*:*:*:*:*:*",
        })
        dependencies[purl(key)].append(reference)
        dependencies[reference] = []

when = datetime.datetime.fromtimestamp(int(time), datetime.timezone.utc)
bom = {
    "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {
        "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": component(root, "application"),
        "properties": [{"name": "cargo:target", "value": target}],
    },
    "components": components,
    "dependencies": [{"ref": ref, "dependsOn": to} for ref, to in sorted(dependencies.items())],
}
digest = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).hexdigest()
bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, "sha256:" + digest).urn
json.dump(bom, sys.stdout, indent=2, ensure_ascii=False)
print()
PYTHON
