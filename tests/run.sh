#!/usr/bin/env bash
# Every check and every test, against a Postgres and a RabbitMQ of its own.
#
#   bash tests/run.sh             everything
#   bash tests/run.sh NAME...     only the tests whose names contain one of these
#
# Works as root in a container and as a user with sudo: what is missing is
# installed with apt-get. Only Rust has to be there. Ends with one line,
# "N passed, M failed", and fails when anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/services.sh
. deploy/services.sh

case ${1-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
  -*) complain "unknown option '$1'; try --help"; exit 64 ;;
esac

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/hookwell-tests.XXXXXX")
# Root runs Postgres as another user, who must be able to pass through here.
chmod 711 "$work"

declare -A beside=()

clean_up() {
  local code=$? record name
  trap - EXIT INT TERM HUP
  for name in "${!beside[@]}"; do kill -TERM -- "-${beside[$name]}" 2>/dev/null || true; done
  # Tests start services of their own below $work; one that was killed left them running.
  while IFS= read -r -d '' record; do
    stop_service "$(dirname "$record")" at-once || true
  done < <(find "$work" -maxdepth 6 -name env -type f -print0 2>/dev/null)
  if ((code == 0 || code > 128)); then
    remove_service "$work"
  else
    keep_logs "$work"
  fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

steps=() failed=()
# step NAME COMMAND...: a heading, the command, and the seconds it took. Goes on
# after a failure, so that one run shows all there is to mend.
step() {
  local name=$1 began=$SECONDS outcome=ok
  shift
  printf '\n%s== %s%s\n' "$bold" "$name" "$plain"
  "$@" || { outcome=FAILED; failed+=("$name"); }
  steps+=("$(printf '%-7s %5d s  %s' "$outcome" "$((SECONDS - began))" "$name")")
  printf '%s-- %s: %s, %d s%s\n' "$bold" "$name" "$outcome" "$((SECONDS - began))" "$plain"
}

# begin NAME COMMAND...: runs it beside the next steps. `step NAME collect` waits
# for it, and prints what it said.
begin() {
  local name=$1
  shift
  # A process group of its own, so that it can be ended with all that it started.
  set -m
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  set +m
  beside[$name]=$!
}

collect() {
  local name=$1 code=0
  wait "${beside[$name]}" || code=$?
  unset "beside[$name]"
  cat "$work/$name.log"
  return "$code"
}

need_rust() {
  command -v cargo >/dev/null || PATH="${HOME-}/.cargo/bin:$PATH"
  if ! command -v cargo >/dev/null; then
    complain "Rust is not installed. It takes one command as an ordinary user (https://rustup.rs):
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y
then open a new shell and run this again."
    return 1
  fi
  cargo --version
}

start_services() {
  local postgres
  start_postgres "$work/postgres" >"$work/postgres.out" 2>&1 &
  postgres=$!
  start_rabbitmq "$work/rabbitmq" || return 1
  wait "$postgres" || { cat "$work/postgres.out" >&2; return 1; }
  HOOKWELL_TEST_POSTGRES_URL=$(service_value "$work/postgres" PG_URL)
  HOOKWELL_TEST_AMQP_URL=$(service_value "$work/rabbitmq" AMQP_URL)
  HOOKWELL_TEST_RABBITMQCTL=$(service_value "$work/rabbitmq" RABBITMQCTL)
  export HOOKWELL_TEST_POSTGRES_URL HOOKWELL_TEST_AMQP_URL HOOKWELL_TEST_RABBITMQCTL
  printf '%s\n' "$HOOKWELL_TEST_POSTGRES_URL" "$HOOKWELL_TEST_AMQP_URL"
}

# `--all-targets` leaves out the fault bench, which is no test of `cargo test`.
lints() {
  cargo clippy --all-targets --locked -- -D warnings && cargo clippy --test faults --locked -- -D warnings
}

documentation() { RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked; }

shell_scripts() { shellcheck -x deploy/*.sh deploy/*/*.sh tests/*.sh tests/faults/*.sh tests/it/fixtures/*.sh benches/*.sh .ci/run; }

# All that runs below, so that nothing is built beside something that measures. The
# daemon with crash points first, for the other one gets the same name.
build() {
  bash tests/faults/run.sh build && cargo test --locked --no-run && cargo test --locked --no-run --test faults
}

# Everything runs even after a failure; what it prints is kept for the sums. Tests
# wait for servers most of the time: there are four for each processor.
rust_tests() {
  mkdir -p "$work/t"
  RUST_TEST_THREADS=$((4 * $(nproc))) TMPDIR="$work/t" cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$work/cargo-test.log"
}

# Prints the URL of a new virtual host of the broker: what one check declares
# or leaves behind is not in the way of another.
fresh_vhost() {
  "$HOOKWELL_TEST_RABBITMQCTL" -q add_vhost "$1" >&2 || return 1
  "$HOOKWELL_TEST_RABBITMQCTL" -q set_permissions -p "$1" guest '.*' '.*' '.*' >&2 || return 1
  printf '%s\n' "${HOOKWELL_TEST_AMQP_URL%/*}/$1"
}

# The quick start with the binary that the tests have just built.
quick_start() {
  local url
  url=$(fresh_vhost quick-start) || return 1
  HOOKWELL_BIN=$(cargo_target)/debug/hookwell HOOKWELL_BROKER__URL=$url bash deploy/quickstart.sh --once
}

consumers() {
  local url
  url=$(fresh_vhost consumers) || return 1
  AMQP_URL=$url bash tests/consumers.sh
}

alerts() {
  bash tests/alerts.sh --only HookwellSignaturesWrong --only HookwellBrokerDown --only HookwellStoreDown "$(cargo_target)/debug/hookwell"
}

# The last lines: what ran, and the sum of all "test result:" lines.
summary() {
  local sums passed=0 not_passed=0 line
  if [[ -e $work/cargo-test.log ]]; then
    sums=$(sed 's/\x1b\[[0-9;]*m//g' "$work/cargo-test.log" | awk '
      /^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i - 1); if ($i == "failed;") f += $(i - 1) } }
      END { print p + 0, f + 0 }')
    read -r passed not_passed <<<"$sums"
  fi
  printf '\n%s== summary%s\n' "$bold" "$plain"
  for line in "${steps[@]}"; do printf '%s\n' "$line"; done
  if ((passed + not_passed == 0)); then
    failed+=('no test ran at all')
  fi
  if ((${#failed[@]} || not_passed)); then
    printf 'FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")"
  fi
  printf '%d passed, %d failed\n' "$passed" "$not_passed"
  ((${#failed[@]} == 0 && not_passed == 0))
}

need_rust
install_missing cc rabbitmq postgres openssl pika chromium pgbouncer
step 'private Postgres and RabbitMQ' start_services
if ((${#failed[@]})); then
  summary
  exit 1
fi

if (($#)); then
  # One run of cargo test takes one filter; the test binaries take several.
  step "cargo test $*" rust_tests --lib --bins --tests -- "$@"
else
  step 'cargo fmt' cargo fmt --check
  step 'cargo clippy' lints
  step 'cargo doc' documentation
  step 'cargo build' build
  # All of it waits for servers half of the time.
  HOOKWELL_FAILPOINTS_BIN=$(cargo_target)/debug/hookwell-failpoints begin faults bash tests/faults/run.sh first --jobs 2
  step 'cargo test' rust_tests
  begin restore bash tests/restore.sh "$(cargo_target)/debug/hookwell" sqlite
  step 'three alerts' alerts
  step 'a backup restored' collect restore
  step 'example consumers' consumers
  step 'quick start' quick_start
  if command -v shellcheck >/dev/null; then
    step 'shellcheck' shell_scripts
  fi
  step 'fault bench, first slice' collect faults
fi
summary
