#!/usr/bin/env bash
# Checks what deploy/ has for running hookwell: the image, compose, the service
# unit, the Debian package, the Kubernetes manifests and the proxies.
#
#   bash tests/deploy.sh BINARY
#
# One line a check: ok, FAILED with what it said, or skipped with the reason.
# Fails when a check failed. What is missing is installed with apt-get; no service
# of a package is started. Files are checked, and what can run here does: BINARY
# behind nginx and Caddy, with a signed webhook through each, and (as root, where
# no hookwell is) the package, installed and purged. Leaves nothing behind but the
# Debian packages that it needed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
if (($# != 1)); then
  echo 'error: name one binary of hookwell; try --help' >&2
  exit 64
fi
hookwell=$(realpath -- "$1")
cd "$root"
# shellcheck source=deploy/services.sh
. deploy/services.sh
[[ -x $hookwell ]] || { complain "$hookwell is not there, or cannot be run"; exit 66; }
# Settings of this shell are not what is checked, nor do they belong into a package.
for name in "${!HOOKWELL_@}"; do unset "$name"; done
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-deploy.XXXXXX")
# Other users pass through: nginx's workers, and the one that apt reads a package as.
chmod 711 "$work"
# Started processes, as "pid start-time", and whether the package may be on this machine because of us.
running=() package_is_ours=''
clean_up() {
  local code=$? entry
  trap - EXIT INT TERM HUP
  for entry in "${running[@]}"; do end_process "${entry% *}" "${entry#* }" TERM 10 || true; done
  [[ -z $package_is_ours ]] || remove_package >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- reporting ------------------------------------------------------------------

passed=0 failed=0 skipped=0 deb=''
http_port='' admin_port='' nginx_port='' caddy_port=''
SKIP=77

# skip REASON: ends a check that cannot be made here.
skip() { printf '%s\n' "$*"; exit $SKIP; }

# check NAME COMMAND...: in a shell of its own, so that a check can end anywhere.
check() {
  local name=$1 status=0 log=$work/check.log
  shift
  # Not behind ||: that would switch off errexit inside.
  set +e
  (set -e; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  case $status in
    0) passed=$((passed + 1)); printf 'ok       %s\n' "$name" ;;
    "$SKIP") skipped=$((skipped + 1)); printf 'skipped  %s: %s\n' "$name" "$(tail -n 1 "$log")" ;;
    *) failed=$((failed + 1)); printf 'FAILED   %s\n' "$name"; tail -n 40 "$log" | sed 's/^/           /' ;;
  esac
}

# --- tools ------------------------------------------------------------------------

yaml_python() { python_with 'tomllib, yaml'; }

# A tool and its Debian package, one pair a line.
TOOLS='nginx nginx
caddy caddy
docker-compose docker-compose
systemd-analyze systemd
dpkg-shlibdeps dpkg-dev
strip binutils
lintian lintian
strace strace
shellcheck shellcheck
openssl openssl
curl curl'

install_tools() {
  local tool package missing=() unit new_units=()
  while read -r tool package; do
    has_command "$tool" || missing+=("$package")
  done <<<"$TOOLS"
  yaml_python >/dev/null || missing+=(python3 python3-yaml)
  ((${#missing[@]})) || return 0
  for unit in nginx caddy; do [[ " ${missing[*]} " != *" $unit "* ]] || new_units+=("$unit"); done
  if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! command -v sudo >/dev/null; }; then
    echo "note: missing here, and not to be installed by this user: ${missing[*]}"
    return 0
  fi
  echo "Installing Debian packages: ${missing[*]}"
  apt_install "${missing[@]}" || return 0
  # As with those that apt_install knows: nothing that came for a test starts with the machine.
  if [[ -d /run/systemd/system ]] && ((${#new_units[@]})); then
    as_root systemctl disable -q "${new_units[@]}" || true
  fi
}

# fails COMMAND...: that it does is what is wanted. (A plain ! does not end a check.)
fails() { ! "$@"; }

# need TOOL...: skips the check where one is missing.
need() {
  local tool
  for tool in "$@"; do has_command "$tool" || skip "$tool is not here"; done
}

# --- all files --------------------------------------------------------------------

maintainer_scripts() {
  need shellcheck
  shellcheck -x deploy/debian/build.sh deploy/compose/up.sh tests/deploy.sh
  shellcheck --shell=sh deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm
}

# The configurations that come with it, each with its secrets where they would be.
good_configuration() {
  local file=$1 secrets=$2 copy=$work/good.toml
  sed "s#\"/run/secrets/\(hookwell/\)\?#\"$secrets/#" "$file" >"$copy"
  "$hookwell" check-config --config "$copy"
}

# --- the image ----------------------------------------------------------------------

dockerfile() {
  "$hookwell" healthcheck --help >/dev/null || { echo 'the HEALTHCHECK is no command of this binary'; return 1; }
  "$python" - deploy/docker/Dockerfile <<'PYTHON'
import json, re, sys

text = open(sys.argv[1]).read()
lines = [line for line in text.splitlines() if not line.startswith("#")]
steps = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
steps = [(step.split(None, 1)[0].upper(), step.split(None, 1)[1].strip()) for step in steps if step.strip()]
known = {"FROM", "ARG", "LABEL", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
assert {name for name, _ in steps} <= known, {name for name, _ in steps} - known
last = max(n for n, (name, _) in enumerate(steps) if name == "FROM")
build, final = steps[:last], dict(reversed(steps[last:]))
assert any(name == "RUN" and "--locked" in step and "--mount=type=cache" in step for name, step in build), "builder"
assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final["USER"]), "the user is no number, or root"
assert final["STOPSIGNAL"] == "SIGTERM" and final["VOLUME"] == "/var/lib/hookwell"
assert "org.opencontainers.image.licenses" in final["LABEL"]
# There is no shell in the image: commands are lists, and their program is where it was copied to.
programs = [json.loads(final["ENTRYPOINT"])[0], json.loads(final["HEALTHCHECK"].split("CMD", 1)[1])[0]]
assert isinstance(json.loads(final["CMD"]), list)
copied = [step.split()[-1] for name, step in steps[last:] if name == "COPY"]
assert all(program in copied for program in programs), (programs, copied)
assert not any(name == "RUN" for name, _ in steps[last:]), "RUN needs a shell"
PYTHON
}

# What the builder gets is what the binary is made of.
build_context() {
  local entries entry context=$work/context
  mapfile -t entries < <(sed -n 's/^!//p' deploy/docker/Dockerfile.dockerignore)
  grep -qx '\*' deploy/docker/Dockerfile.dockerignore
  mkdir "$context"
  for entry in "${entries[@]}"; do cp -r "$entry" "$context/"; done
  "$python" - "$context" <<'PYTHON'
import pathlib, re, sys

context = pathlib.Path(sys.argv[1])
missing = []
for source in context.glob("src/**/*.rs"):
    relative = source.relative_to(context)
    text = source.read_text()
    # Of a name that is put together, the folder that it begins with.
    for found in re.finditer(r'include_(?:str|bytes)!\((?:concat!\()?"([^"]+)"', text):
        # Unit tests and the bench's own build are made elsewhere.
        before = text[: found.start()].splitlines()[-4:]
        if "tests" in relative.parts or any("cfg(feature" in line or "cfg(test)" in line for line in before):
            continue
        if not (source.parent / found[1]).exists():
            missing.append(f"{relative} includes {found[1]}")
assert not missing, missing
PYTHON
  command -v cargo >/dev/null || skip 'cargo is not here: whether the manifest loads is not known'
  (cd "$context" && cargo metadata --format-version 1 --no-deps --offline --locked >/dev/null)
}

# --- compose ------------------------------------------------------------------------

compose_secrets() {
  local before
  HOOKWELL_SECRETS=$work/secrets bash deploy/compose/up.sh --secrets
  before=$(cat "$work"/secrets/*)
  # Twice is once: a password that changed would lock everybody out.
  HOOKWELL_SECRETS=$work/secrets bash deploy/compose/up.sh --secrets
  [[ $(cat "$work"/secrets/*) == "$before" && $(stat -c %a "$work/secrets") == 700 ]]
  grep -qE '^admin:[0-9a-f]{64}$' "$work/secrets/admin_tokens"
  # In a clone; a tree without git has nothing to be committed to.
  ! git rev-parse --is-inside-work-tree >/dev/null 2>&1 || git check-ignore -q deploy/compose/secrets/store_url
}

compose_file() {
  "$python" - deploy/compose/compose.yaml "$work/secrets" <<'PYTHON'
import pathlib, re, sys, yaml

path, secrets = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
compose = yaml.safe_load(path.read_text())
services = compose["services"]
assert set(services) == {"hookwell", "postgres", "rabbitmq", "prometheus", "grafana"}
for name, service in services.items():
    def must(holds, what):
        assert holds, f"{name}: {what}"
    must(service["read_only"] is True and service["cap_drop"] == ["ALL"], "not confined")
    must("no-new-privileges:true" in service["security_opt"] and not service.get("privileged"), "privileges")
    must(all(re.match(r"127\.0\.0\.1:\d+:\d+$", port) for port in service.get("ports", [])), "a port beyond loopback")
    must({"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]) and service["pids_limit"], "no limits")
    must(":" in service["image"] and not service["image"].endswith(":latest"), "an image without a version")
    must(name == "hookwell" or service["healthcheck"]["test"][0] == "CMD", "no healthcheck")
    must("network_mode" not in service and service["networks"], "networks")
    for other, how in service.get("depends_on", {}).items():
        must(other in services and how["condition"] in ("service_healthy", "service_started"), f"depends on {other}")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        known = (path.parent / source).exists() if source.startswith(".") else source in compose["volumes"]
        must(known, f"{source} is not there")
    for secret in service.get("secrets", []):
        must((secret if isinstance(secret, str) else secret["source"]) in compose["secrets"], f"secret {secret}")
    for value in (service.get("environment") or {}).values():
        must("password" not in str(value).lower() or str(value).startswith("/run/secrets/"), "a password in the open")
made = {entry.name for entry in secrets.iterdir()}
assert {pathlib.Path(secret["file"]).name for secret in compose["secrets"].values()} == made, made
assert services["hookwell"]["depends_on"]["postgres"]["condition"] == "service_healthy"
assert int(services["hookwell"]["stop_grace_period"].rstrip("s")) > 20
PYTHON
}

# Against the schema of what Debian has, which is older than `name` at the top.
compose_schema() {
  if docker compose version >/dev/null 2>&1; then
    docker compose -f deploy/compose/compose.yaml config --quiet
  fi
  need docker-compose
  (cd deploy/compose && grep -v '^name:' compose.yaml | docker-compose -f - config --quiet)
}

compose_observe() {
  [[ -e deploy/observe/prometheus.yaml ]] || skip 'deploy/observe/prometheus.yaml is not here'
  "$python" - <<'PYTHON'
import json, pathlib, yaml

ours = yaml.safe_load(open("deploy/compose/prometheus.yaml"))
theirs = yaml.safe_load(open("deploy/observe/prometheus.yaml"))
assert ours["scrape_configs"][0]["static_configs"] == [{"targets": ["hookwell:9464"]}]
for config in (ours, theirs):
    del config["scrape_configs"][0]["static_configs"]
assert ours == theirs, "deploy/compose/prometheus.yaml and deploy/observe/prometheus.yaml differ in more than the address"
yaml.safe_load(open("deploy/observe/alerts.yaml"))
json.load(open("deploy/observe/dashboard.json"))
compose = yaml.safe_load(open("deploy/compose/compose.yaml"))["services"]
provisioned = {}
for file in pathlib.Path("deploy/compose/grafana/provisioning").glob("*/*.yaml"):
    provisioned[file.parent.name] = yaml.safe_load(file.read_text())
    assert provisioned[file.parent.name]["apiVersion"] == 1, file
(source,) = provisioned["datasources"]["datasources"]
assert source["type"] == "prometheus" and source["isDefault"] and source["url"] == "http://prometheus:9090", source
assert "prometheus" in compose and set(compose["prometheus"]["networks"]) & set(compose["grafana"]["networks"])
folder = provisioned["dashboards"]["providers"][0]["options"]["path"]
mounts = dict(entry.split(":")[:2] for entry in compose["grafana"]["volumes"])
assert mounts["../observe/dashboard.json"].startswith(folder + "/"), (folder, mounts)
assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
PYTHON
}

# --- systemd ------------------------------------------------------------------------

UNIT=deploy/systemd/hookwell.service

unit_is_right() {
  need systemd-analyze
  # The binary and its pages are not installed here.
  mkdir "$work/unit"
  sed -e "s#^ExecStart=/usr/bin/hookwell#ExecStart=$hookwell#" -e '/^Documentation=/d' "$UNIT" >"$work/unit/hookwell.service"
  systemd-analyze verify "$work/unit/hookwell.service" 2>&1 | tee "$work/verify.log"
  fails grep -q hookwell "$work/verify.log"
  "$python" - "$UNIT" <<'PYTHON'
import re, sys, tomllib

unit = dict(re.findall(r"^(\w+)=(.*)$", open(sys.argv[1]).read(), re.M))
grace = tomllib.load(open("config/default.toml", "rb"))["shutdown"]["grace"]
seconds = lambda text: int(re.fullmatch(r"(\d+)s", text)[1])
assert seconds(unit["TimeoutStopSec"]) > seconds(grace), "it is killed before it has drained"
assert "78" in unit["RestartPreventExitStatus"].split() and unit["Restart"] == "on-failure"
assert unit["Type"] == "exec" and unit["StateDirectory"] == "hookwell"
PYTHON
}

unit_is_confined() {
  need systemd-analyze
  local exposure
  exposure=$(systemd-analyze security --offline=true "$UNIT" | sed -n 's/.*Overall exposure level for hookwell.service: \([0-9.]*\) .*/\1/p')
  echo "exposure: $exposure"
  awk -v exposure="$exposure" 'BEGIN { exit !(exposure != "" && exposure <= 1.5) }'
}

# What the daemon called while it took webhooks, against what the unit lets through.
unit_lets_it_work() {
  need strace systemd-analyze
  [[ -s $work/calls ]] || skip 'the daemon was not traced'
  "$python" - "$UNIT" "$work/calls" <<'PYTHON'
import functools, os, re, subprocess, sys

@functools.cache
def members(name):
    if not name.startswith("@"):
        return {name}
    lines = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout.splitlines()
    # The first line is the name; comments say what it is for, and what this kernel does not know.
    entries = [line.strip() for line in lines[1:]]
    return set().union(*(members(entry) for entry in entries if entry and not entry.startswith("#")))

allowed = members("@default")
for value in re.findall(r"^SystemCallFilter=(.*)$", open(sys.argv[1]).read(), re.M):
    names = set().union(*(members(name) for name in value.lstrip("~").split()))
    allowed = allowed - names if value.startswith("~") else allowed | names
called = set(re.findall(r"^(?:\d+ +)?(\w+)\(", open(sys.argv[2]).read(), re.M))
# SQLite gives new files to the owner of the database where it runs as root, and only there.
called -= {"fchown"} if os.geteuid() == 0 else set()
assert {"fsync", "accept4", "connect"} <= called, f"hardly traced: {sorted(called)}"
print("called:", *sorted(called))
assert called <= allowed, f"not let through: {sorted(called - allowed)}"
PYTHON
}

# --- the proxies ----------------------------------------------------------------------

# A daemon with a key of our own. RabbitMQ is not there: webhooks are accepted and wait.
start_daemon() {
  local config=$work/hookwell.toml command=("$hookwell")
  need openssl curl
  "$hookwell" keys generate --out "$work/dev-key.pem"
  cat >"$config" <<TOML
[http]
listen = "127.0.0.1:$http_port"
[admin]
listen = "127.0.0.1:$admin_port"
[store]
url = "sqlite://$work/data/hookwell.db"
[broker]
url = "amqp://guest:guest@127.0.0.1:9/%2f"
[signature]
ed25519_keys = ["""
$(<"$work/dev-key.pem.pub")
"""]
[[apps]]
id = "65f0c0ffee65f0c0ffee65f0"
path = "/webhooks/ghl"
TOML
  # -D: the process that is started is the daemon, and the tracer a child of it.
  if has_command strace && strace -D -f -o /dev/null true 2>/dev/null; then
    command=(strace -D -f -qq -o "$work/calls" "$hookwell")
  fi
  launch "$work/hookwell.pid" "$work/hookwell.log" "${command[@]}" serve --config "$config"
  wait_for "$work/hookwell.log" ready_by_probe
}

ready_by_probe() { [[ $(http_status "$admin_port" /readyz) == 200 ]]; }

# wait_for LOG CONDITION...: for 20 s.
wait_for() {
  local log=$1 tries
  shift
  for ((tries = 0; tries < 200; tries++)); do
    "$@" && return 0
    sleep 0.1
  done
  tail -n 20 "$log"
  return 1
}

# remember PIDFILE: so that it is ended with this script.
remember() {
  local pid started
  [[ -s $1 ]] && pid=$(<"$1") && started=$(process_started "$pid") && running+=("$pid $started")
  return 0
}

# A certificate for localhost that nobody else trusts.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$work/tls.key" -out "$work/tls.crt" 2>"$work/openssl.log"
}

# is WHAT WANTED GOT: WANTED is a pattern for all of it.
is() { [[ $3 =~ ^($2)$ ]] || { printf '%s: %s, not %s\n' "$1" "${3:-nothing}" "$2"; return 1; }; }

# post PORT BODY-FILE SIGNATURE: the status, and the answer in $work/answer.
post() {
  curl -sS --insecure --max-time 20 -o "$work/answer" -w '%{http_code}\n' -H 'content-type: application/json' \
    -H 'expect:' -H "x-ghl-signature: $3" --data-binary "@$2" "https://localhost:$1/webhooks/ghl"
}

# through_the_proxy PORT ID LARGE: what holds of any proxy in front. LARGE is the status of too large a body.
through_the_proxy() {
  local port=$1 id=$2 large=$3 body=$work/body signature path
  printf '{"type":"ContactCreate","locationId":"ve9EPM428h8vShlRW1KT","id":"abc","appId":"65f0c0ffee65f0c0ffee65f0","webhookId":"%s","name":"J\u00fcrgen  \\u0041"}' \
    "$id" >"$body"
  openssl pkeyutl -sign -inkey "$work/dev-key.pem" -rawin -in "$body" -out "$work/signature"
  signature=$(base64 -w 0 "$work/signature")
  # The body of the proxy's side is the one that was signed, byte for byte, or this is 401.
  is 'a signed webhook' 200 "$(post "$port" "$body" "$signature")"
  grep '"accepted"' "$work/answer"
  is 'the same again' 200 "$(post "$port" "$body" "$signature")"
  grep '"duplicate"' "$work/answer"
  "$hookwell" events list --config "$work/hookwell.toml" >"$work/events"
  grep "$id" "$work/events"
  # A wrong signature is refused by hookwell, too large a body by somebody, and neither by a redirect.
  is 'another signature' 401 "$(post "$port" "$body" "${signature/[A-Y]/Z}")"
  head -c 1100000 /dev/zero >"$work/large"
  is 'a body over 1 MiB' "$large" "$(post "$port" "$work/large" "$signature")"
  # The admin listener's paths lead nowhere.
  for path in /metrics /readyz /livez / /webhooks /console; do
    is "GET $path" 404 "$(curl -sS --insecure --max-time 20 -o /dev/null -w '%{http_code}' "https://localhost:$port$path")"
  done
}

behind_nginx() {
  local conf=$work/nginx.conf
  need nginx openssl curl
  ready_by_probe || skip 'the daemon does not run'
  sed -e "s#listen 443 ssl#listen 127.0.0.1:$nginx_port ssl#" -e '/listen \[::\]:443/d' -e "s#127.0.0.1:8080#127.0.0.1:$http_port#" \
    -e "s#/etc/letsencrypt/live/hooks.example.com/fullchain.pem#$work/tls.crt#" -e 's/server_name .*/server_name localhost;/' \
    -e "s#/etc/letsencrypt/live/hooks.example.com/privkey.pem#$work/tls.key#" -e "s#/var/log/nginx/#$work/nginx-#" \
    deploy/proxy/nginx.conf >"$work/nginx-site.conf"
  grep -q "listen 127.0.0.1:$nginx_port ssl;" "$work/nginx-site.conf"
  cat >"$conf" <<CONF
pid $work/nginx-own.pid;
error_log $work/nginx-error.log;
events {}
http {
  client_body_temp_path $work/nginx-body;
  proxy_temp_path $work/nginx-proxy;
  fastcgi_temp_path $work/nginx-fastcgi;
  uwsgi_temp_path $work/nginx-uwsgi;
  scgi_temp_path $work/nginx-scgi;
  include $work/nginx-site.conf;
}
CONF
  nginx -t -e "$work/nginx-error.log" -c "$conf"
  launch "$work/nginx.pid" "$work/nginx.log" nginx -e "$work/nginx-error.log" -c "$conf" -g 'daemon off;'
  wait_for "$work/nginx-error.log" port_answers "$nginx_port"
  through_the_proxy "$nginx_port" through-nginx 413
  # The query of a callback is in no log.
  curl -sS --insecure -o /dev/null "https://localhost:$nginx_port/oauth/callback?code=not-for-logs"
  fails grep not-for-logs "$work/nginx-hookwell.log"
}

behind_caddy() {
  local conf=$work/Caddyfile
  need caddy curl openssl
  ready_by_probe || skip 'the daemon does not run'
  export HOME=$work XDG_DATA_HOME=$work/caddy XDG_CONFIG_HOME=$work/caddy
  caddy validate --adapter caddyfile --config deploy/proxy/Caddyfile
  # Here no authority and no fixed port: the certificate is a file, and nothing else is listened on.
  {
    printf '{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n'
    sed -e "s#^hooks.example.com {#https://localhost:$caddy_port {\n\ttls $work/tls.crt $work/tls.key#" \
      -e "s#127.0.0.1:8080#127.0.0.1:$http_port#" deploy/proxy/Caddyfile
  } >"$conf"
  launch "$work/caddy.pid" "$work/caddy.log" caddy run --adapter caddyfile --config "$conf"
  wait_for "$work/caddy.log" port_answers "$caddy_port"
  through_the_proxy "$caddy_port" through-caddy '413|502'
}

# The proxies are gone, and the daemon drains on SIGTERM: only then is the trace complete.
daemon_drains() {
  local pid started status
  pid=$(<"$work/hookwell.pid")
  started=$(process_started "$pid") || skip 'the daemon does not run'
  kill -TERM "$pid"
  for ((status = 0; status < 250; status++)); do
    is_alive "$pid" "$started" || break
    sleep 0.1
  done
  grep -q '"message":"bye"' "$work/hookwell.log" || { tail -n 5 "$work/hookwell.log"; return 1; }
}

# --- the Debian package ------------------------------------------------------------------

build_package() {
  need dpkg-deb dpkg-shlibdeps strip
  # It need not be small here. The time is fixed, as a release's is.
  export DPKG_DEB_COMPRESSOR_LEVEL=1 SOURCE_DATE_EPOCH=1700000000
  bash deploy/debian/build.sh --out "$work/deb" "$hookwell"
  bash deploy/debian/build.sh --out "$work/deb-again" "$hookwell"
  cmp "$work"/deb/*.deb "$work"/deb-again/*.deb
  rm -r "$work/deb-again"
}

# Sets $deb.
find_package() { deb=$(compgen -G "$work/deb/hookwell_*.deb") || skip 'there is no package'; }

package_contents() {
  local tree=$work/tree file version
  find_package
  dpkg-deb -x "$deb" "$tree"
  for file in usr/bin/hookwell lib/systemd/system/hookwell.service etc/hookwell/hookwell.toml usr/share/man/man1/hookwell.1.gz \
    usr/share/man/man1/hookwell-serve.1.gz usr/share/bash-completion/completions/hookwell usr/share/zsh/vendor-completions/_hookwell \
    usr/share/fish/vendor_completions.d/hookwell.fish usr/share/doc/hookwell/copyright usr/share/doc/hookwell/README.md.gz usr/share/doc/hookwell/deploy/RUNBOOK.md \
    usr/share/doc/hookwell/changelog.gz usr/share/doc/hookwell/changelog.Debian.gz; do
    [[ -s $tree/$file ]] || { echo "$file is missing"; return 1; }
  done
  [[ $(stat -c %a "$tree/etc/hookwell/hookwell.toml") == 640 && $(dpkg-deb -I "$deb" conffiles) == /etc/hookwell/hookwell.toml ]]
  version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
  [[ $(dpkg-deb -f "$deb" Version) == "${version/-/\~}-1" ]]
  dpkg-deb -f "$deb" Depends | grep -q 'libc6 (>= '
  bash -n "$tree/usr/share/bash-completion/completions/hookwell"
  cmp "$UNIT" "$tree/lib/systemd/system/hookwell.service"
  (cd "$tree" && dpkg-deb -I "$deb" md5sums | md5sum --check --quiet)
}

package_lints() {
  need lintian
  find_package
  lintian --allow-root --fail-on error,warning "$deb"
}

# The configuration of the package is not complete, so that nothing starts by itself; this completes it.
complete_configuration() {
  sed -i -e '/^#\[\[apps\]\]/s/^#//' -e '/^#id = /s/^#//' -e '/^#path = /s/^#//' "$1"
  printf 'amqp://guest:guest@127.0.0.1:5672/%%2f\n' >"$2"
}

package_configuration() {
  local config=$work/package.toml status=0
  sed "s#/etc/hookwell/broker_url#$work/broker_url#" deploy/debian/hookwell.toml >"$config"
  "$hookwell" check-config --config "$config" || status=$?
  ((status == 78))
  complete_configuration "$config" "$work/broker_url"
  "$hookwell" check-config --config "$config"
}

# Into files, never into a pipe that may close: dpkg would end half-way.
apt_quiet() { DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"; }

# Only what this script brought, also where it was stopped half-way.
remove_package() {
  dpkg --configure -a || true
  (forbid_services && apt_quiet purge hookwell)
  rm -rf /var/lib/hookwell /etc/hookwell
  ! getent passwd hookwell >/dev/null || userdel hookwell
}

package_may_be_installed() {
  ((EUID == 0)) && command -v apt-get >/dev/null || return 1
  [[ ! -e /etc/hookwell && ! -e /var/lib/hookwell && ! -e /usr/bin/hookwell ]] || return 1
  ! getent passwd hookwell >/dev/null && ! dpkg-query -W hookwell >/dev/null 2>&1
}

as_hookwell() { setpriv --reuid=hookwell --regid=hookwell --init-groups -- "$@"; }

package_installs() {
  local config=/etc/hookwell/hookwell.toml wants=/etc/systemd/system/multi-user.target.wants/hookwell.service status=0
  [[ -n $package_is_ours ]] || skip 'not root, or there is a hookwell on this machine'
  find_package
  forbid_services
  apt_quiet install --no-install-recommends "$deb" >"$work/install.log" 2>&1 || { cat "$work/install.log"; return 1; }
  grep 'not started' "$work/install.log"
  is 'modes and owners' '640 root hookwell,750 root hookwell,700 hookwell hookwell,' \
    "$(stat -c '%a %U %G' "$config" /etc/hookwell /var/lib/hookwell | tr '\n' ',')"
  [[ ! -e $wants && $(getent passwd hookwell | cut -d: -f7) == /usr/sbin/nologin ]]
  as_hookwell hookwell check-config --config "$config" || status=$?
  ((status == 78))
  complete_configuration "$config" /etc/hookwell/broker_url
  # As in an upgrade. A secret that the daemon cannot read is a configuration that is not good.
  chmod 600 /etc/hookwell/broker_url
  /var/lib/dpkg/info/hookwell.postinst configure 0.0.1-1 >"$work/install.log" 2>&1
  grep 'not restarted' "$work/install.log"
  chown root:hookwell /etc/hookwell/broker_url
  chmod 640 /etc/hookwell/broker_url
  apt_quiet install --reinstall "$deb" >"$work/install.log" 2>&1
  fails grep 'not restarted' "$work/install.log"
  as_hookwell hookwell check-config --config "$config"
  as_hookwell hookwell migrate --config "$config"
  [[ $(stat -c '%a %U' /var/lib/hookwell/hookwell.db) == '600 hookwell' ]]
}

package_is_purged() {
  [[ -n $package_is_ours ]] || skip 'it was not installed'
  dpkg-query -W hookwell >/dev/null 2>&1 || skip 'it was not installed'
  find_package
  forbid_services
  apt_quiet purge hookwell >"$work/purge.log" 2>&1 || { cat "$work/purge.log"; return 1; }
  # The log outlives the package.
  grep 'the log of webhooks stays in /var/lib/hookwell' "$work/purge.log"
  [[ -e /var/lib/hookwell/hookwell.db && ! -e /etc/hookwell/hookwell.toml && ! -e /usr/bin/hookwell ]]
  rm -r /var/lib/hookwell /etc/hookwell
  userdel hookwell
  apt_quiet install --no-install-recommends "$deb" >/dev/null 2>&1
  apt_quiet purge hookwell >/dev/null 2>&1
  # Without a log nothing stays.
  fails compgen -G '/etc/systemd/system/*/hookwell.service'
  fails compgen -G '/var/lib/systemd/deb-systemd-helper-*/hookwell*'
  [[ ! -e /etc/hookwell && ! -e /var/lib/hookwell && ! -e /lib/systemd/system/hookwell.service ]]
  fails getent passwd hookwell
  fails dpkg-query -W hookwell
}

# --- Kubernetes ----------------------------------------------------------------------------

kubernetes_manifests() {
  "$python" - deploy/kubernetes <<'PYTHON'
import pathlib, re, sys, tomllib, yaml

folder = pathlib.Path(sys.argv[1])
kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
every, files = [], kustomization["resources"] + ["podmonitor.yaml", "ingress.example.yaml", "secret.example.yaml"]
for file in files:
    every += [document for document in yaml.safe_load_all((folder / file).read_text())]
found = {(item["kind"], item["metadata"]["name"]): item for item in every}
cargo = tomllib.load(open("Cargo.toml", "rb"))
assert kustomization["images"][0]["newTag"] == cargo["package"]["version"], "the image's tag is not the version of Cargo.toml"
assert found["Namespace", "hookwell"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

secret = found["Secret", "hookwell"]["stringData"]
assert all("CHANGE-ME" in value or not value for value in secret.values()), "a real secret in the example"
config = (folder / "hookwell.toml").read_text()
wanted = set(re.findall(r"^\w+_file = \"/run/secrets/hookwell/(\w+)\"", config, re.M))
assert wanted == set(secret), (wanted, set(secret))

def pod(template):
    spec, container = template["spec"], template["spec"]["containers"][0]
    # What the restricted profile asks for, and a root file system that cannot be written to.
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    own = container["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]} and own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"]
    assert spec["automountServiceAccountToken"] is False and ("ServiceAccount", spec["serviceAccountName"]) in found
    assert {"cpu", "memory"} <= set(container["resources"]["requests"]) and "memory" in container["resources"]["limits"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == kustomization["configMapGenerator"][0]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == "hookwell"
    return spec, container

deployment = found["Deployment", "hookwell"]["spec"]
labels = deployment["template"]["metadata"]["labels"]
spec, container = pod(deployment["template"])
migration = found["Job", "hookwell-migrate"]["spec"]["template"]
pod(migration)
assert migration["spec"]["containers"][0]["args"][0] == "migrate", "the job does not migrate"
assert deployment["selector"]["matchLabels"].items() <= labels.items()
assert deployment["replicas"] == 3 and deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
assert {constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
paths = {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
grace = int(tomllib.load(open("config/default.toml", "rb"))["shutdown"]["grace"].rstrip("s"))
asleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
assert spec["terminationGracePeriodSeconds"] > grace + asleep, "it is killed before it has drained"

ports = {port["name"]: port["containerPort"] for port in container["ports"]}
parsed = tomllib.loads(config)
assert f"0.0.0.0:{ports['http']}" == parsed["http"]["listen"] and f"0.0.0.0:{ports['admin']}" == parsed["admin"]["listen"]
for name, port in (("hookwell", "http"), ("hookwell-admin", "admin")):
    service = found["Service", name]["spec"]
    # The job's pods have another component: no webhook goes there.
    assert service["selector"].items() <= labels.items() and "app.kubernetes.io/component" in service["selector"]
    assert [entry["targetPort"] for entry in service["ports"]] == [port] and service["type"] == "ClusterIP"
budget = found["PodDisruptionBudget", "hookwell"]["spec"]
assert budget["selector"]["matchLabels"].items() <= labels.items()
assert budget["maxUnavailable"] == 1 and "minAvailable" not in budget, "a node could not be drained, or all daemons at once"
policy = found["NetworkPolicy", "hookwell"]["spec"]
assert policy["podSelector"]["matchLabels"].items() <= labels.items()
assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [ports["http"], ports["admin"]] and all(rule["from"] for rule in policy["ingress"])
assert found["PodMonitor", "hookwell"]["spec"]["podMetricsEndpoints"][0]["port"] in ports
for path in found["Ingress", "hookwell"]["spec"]["rules"][0]["http"]["paths"]:
    assert path["backend"]["service"] == {"name": "hookwell", "port": {"name": "http"}}
PYTHON
}

kubernetes_configuration() {
  mkdir "$work/kube"
  : >"$work/kube/admin_tokens"
  "$python" - "$work/kube" <<'PYTHON'
import pathlib, sys, yaml
for name, value in yaml.safe_load(open("deploy/kubernetes/secret.example.yaml"))["stringData"].items():
    (pathlib.Path(sys.argv[1]) / name).write_text(value)
PYTHON
  good_configuration deploy/kubernetes/hookwell.toml "$work/kube"
}

# No schemas here: Debian has none. What is built must at least be whole.
kubernetes_build() {
  has_command kubectl || skip 'kubectl is not here (and the schemas of Kubernetes are in no Debian package)'
  kubectl kustomize --help >/dev/null 2>&1 || skip 'this kubectl has no kustomize'
  # Debian 12 has one from before `labels`.
  if ! kubectl kustomize deploy/kubernetes >"$work/built.yaml" 2>"$work/kustomize.log"; then
    ! grep -q 'unknown field' "$work/kustomize.log" || skip 'this kubectl is too old for the kustomization'
    cat "$work/kustomize.log"
    return 1
  fi
  "$python" - "$work/built.yaml" <<'PYTHON'
import sys, yaml
built = list(yaml.safe_load_all(open(sys.argv[1])))
kinds = sorted(item["kind"] for item in built)
assert kinds == ["ConfigMap", "Deployment", "Job", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount"], kinds
name = next(item["metadata"]["name"] for item in built if item["kind"] == "ConfigMap")
assert name.startswith("hookwell-config-"), "a change of the configuration would start no new pods"
for item in built:
    assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "hookwell", item["metadata"]
    if item["kind"] in ("Deployment", "Job"):
        spec = item["spec"]["template"]["spec"]
        assert spec["volumes"][0]["configMap"]["name"] == name and ":" in spec["containers"][0]["image"]
PYTHON
}

# --- all of it ---------------------------------------------------------------------------

install_tools
python=$(yaml_python) || { complain 'Python 3.11 or newer with its yaml module is needed (Debian: python3-yaml)'; exit 1; }

check 'scripts pass shellcheck' maintainer_scripts
check 'docker: the Dockerfile holds together, and its health check is a command' dockerfile
check 'docker: what is sent to the builder is all that the binary is made of' build_context
check 'compose: secrets are made once, for their owner alone' compose_secrets
check 'compose: confined, on loopback, with limits; every file and secret is there' compose_file
check 'compose: the file is valid' compose_schema
check 'compose: hookwell.toml is good' good_configuration deploy/compose/hookwell.toml "$work/secrets"
check 'compose: Prometheus is that of deploy/observe' compose_observe
check 'systemd: the unit is valid and stops after the drain' unit_is_right
check 'systemd: exposure is at most 1.5' unit_is_confined

for port in http_port admin_port nginx_port caddy_port; do free_port "$port"; done
check 'proxy: a certificate of our own' certificate
check 'proxy: the daemon runs' start_daemon
remember "$work/hookwell.pid"
check 'proxy: nginx passes a signed webhook, and nothing of the admin listener' behind_nginx
remember "$work/nginx.pid"
check 'proxy: Caddy passes a signed webhook, and nothing of the admin listener' behind_caddy
remember "$work/caddy.pid"
check 'systemd: the daemon drains on SIGTERM' daemon_drains
check 'systemd: the daemon makes no system call that the unit forbids' unit_lets_it_work

check 'kubernetes: manifests hold together, restricted, drained in time' kubernetes_manifests
check 'kubernetes: hookwell.toml is good' kubernetes_configuration
check 'kubernetes: the kustomization builds' kubernetes_build

check 'debian: hookwell.toml starts nothing before it is complete' package_configuration
check 'debian: the package is built, twice the same' build_package
check 'debian: everything is in it' package_contents
check 'debian: lintian has no error and no warning' package_lints
if package_may_be_installed; then package_is_ours=1; fi
check 'debian: it is installed, and not started before it is configured' package_installs
check 'debian: purged, it leaves the log, and without one nothing' package_is_purged
if package_may_be_installed; then package_is_ours=''; fi

printf 'deploy: %d ok, %d failed, %d skipped, %d s\n' "$passed" "$failed" "$skipped" "$SECONDS"
((failed == 0))
