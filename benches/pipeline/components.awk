# Groups the samples of `perf script -F comm,ip,sym,dso` by component; `cpu` is the daemon's microseconds
# an event. The innermost symbol decides, so a component's time is what it spends itself: what it asks
# of the allocator or the kernel is theirs. The kernel's is split by thread.
BEGIN {
  components = split("crypto|sha2|http|json+identify|sqlite|sqlx+postgres|lapin|allocator|copying|tokio|" \
    "kernel|kernel, sqlite's thread|kernel, lapin's thread|rest", names, "|")
}
# The order matters: a future of hyper that tokio polls is hyper's.
function component(thread, symbol, dso) {
  if (dso ~ /kernel|vmlinux|vdso|\.ko$/) {
    if (thread ~ /^sqlx-sqlite/) return "kernel, sqlite's thread"
    if (thread ~ /^lapin/) return "kernel, lapin's thread"
    return "kernel"
  }
  if (symbol ~ /malloc|calloc|realloc|rallocx|dallocx|_je_|tcache_|^(arena|extent|edata|base|sz|pa[cis]?|hpa|eset|rtree)_|cfree|^_int_free|^free$|unlink_chunk|systrim|__rust_(de)?alloc|raw_vec/) return "allocator"
  if (symbol ~ /memmove|memcpy|memset|memcmp|memchr|strlen/) return "copying"
  # Ed25519 hashes with SHA-512, bodies with SHA-256.
  if (symbol ~ /curve25519|ed25519|sha512|hookwell::signature|base64|subtle|ring_core|(^|[^A-Za-z_])ring::/) return "crypto"
  if (symbol ~ /sha2|digest|block_buffer/) return "sha2"
  if (symbol ~ /serde_json|serde_core|hookwell::event|hookwell::routing/) return "json+identify"
  if (symbol ~ /sqlx|libsqlite3|hookwell::store|flume/) return "sqlx+postgres"
  if (symbol ~ /lapin|amq_protocol|amq_parser|async_rs|cookie_factory|event_listener|nom::|hookwell::(broker|relay)/) return "lapin"
  if (symbol ~ /hyper|axum|httparse|http::|http_body|tower|matchit|hookwell::ingest/) return "http"
  if (symbol ~ /tokio|mio::|parking_lot|futures|std::(sync|sys|thread)|core::task/) return "tokio"
  # The only C in the binary, but for ring's.
  if (dso ~ /hookwell$/ && symbol !~ /::|^\[/) return "sqlite"
  return "rest"
}
# thread address symbol (dso); thread and symbol may hold spaces.
match($0, / +[0-9a-f]+ /) {
  thread = substr($0, 1, RSTART - 1)
  sub(/^ +/, "", thread)
  symbol = dso = substr($0, RSTART + RLENGTH)
  sub(/^.*\(/, "", dso)
  sub(/\)$/, "", dso)
  sub(/ \([^(]*\)$/, "", symbol)
  name = component(thread, symbol, dso)
  count[name]++
  symbols[name "\t" substr(symbol, 1, 100)]++
  all++
}
END {
  if (!all) {
    print "no samples"
    exit
  }
  for (n = 1; n <= components; n++)
    printf "%-24s %8.2f  %5.1f %%\n", names[n], cpu * count[names[n]] / all, 100 * count[names[n]] / all
  print ""
  sort = "sort -t '\t' -k 1,1gr | head -n 30"
  for (key in symbols) {
    split(key, parts, "\t")
    printf "%8.2f\t%-24s %s\n", cpu * symbols[key] / all, parts[1], parts[2] | sort
  }
  close(sort)
}
