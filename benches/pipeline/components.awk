# Groups the samples of `perf script -F comm,ip,sym,dso` by component. The innermost symbol decides, so
# a component's time is what it spends itself; `cpu` is the daemon's microseconds an event.
#
# The order matters: a future of hyper polled by tokio is hyper's.
BEGIN {
  split("crypto sha2 http json+identify sqlite postgres+sqlx lapin allocator copying tokio kernel rest", names, " ")
}
function component(dso, symbol) {
  if (dso ~ /kernel|vmlinux|\.ko/) return "kernel"
  if (symbol ~ /malloc|calloc|realloc|cfree|^_int_free|^__libc_free|^free$|__rust_alloc|__rust_dealloc|__rdl_|alloc_perturb|tcache|unlink_chunk|sysmalloc|systrim/) return "allocator"
  if (symbol ~ /memmove|memcpy|memset|memcmp|memchr|strlen/) return "copying"
  if (symbol ~ /curve25519|ed25519|sha512|Sha512|signature::|base64|subtle|ring_core|ring::/) return "crypto"
  if (symbol ~ /sha2|sha256|Sha256|digest/) return "sha2"
  if (symbol ~ /serde_json|event::identify|envelope|event::catalogue|EventKey|hookwell::event/) return "json+identify"
  if (dso ~ /sqlite/ || symbol ~ /^sqlite3|libsqlite3/) return "sqlite"
  if (symbol ~ /^(wal|pager|btree|vdbe|pcache|unix|balance|allocateBtree|moveToRoot|insertCell|freeSpace|allocateSpace|decodeFlags|pageInsert|pageFree|rebuildPage|editPage|yy_|accessPayload|clearCell|dropCell|fillInCell|page[A-Z]|ptrmap|mem[A-Z1-9]|func[A-Z]|bind[A-Z]|resolve|select[A-Z]|where[A-Z]|expr|codeEqu|getToken|getAndInit|zeroPage|btreePar|lockBtree|column|applyAff|applyNum|freeP4|releaseMem|dotlock|findCell|cellSize|defragment|lookaside|seekAnd|find[A-Z]|analyze|parser|walk)/) return "sqlite"
  if (symbol ~ /sqlx|hookwell::store|flume/) return "postgres+sqlx"
  if (symbol ~ /lapin|amq_protocol|amq_parser|async_rs|hookwell::broker|hookwell::relay|pinky|cookie_factory|nom::/) return "lapin"
  if (symbol ~ /hyper|axum|httparse|http::|http_body|tower|matchit|hookwell::http|hookwell::ingest/) return "http"
  if (symbol ~ /tokio|mio::|parking_lot|futures|std::sync|core::task|std::thread/) return "tokio"
  return "rest"
}
{
  # comm may hold spaces: what follows the address is "symbol (dso)".
  if (!match($0, / +[0-9a-f]+ /)) next
  text = substr($0, RSTART + RLENGTH)
  dso = text
  sub(/^.*\(/, "", dso)
  sub(/\)$/, "", dso)
  symbol = text
  sub(/ \([^(]*\)$/, "", symbol)
  name = component(dso, symbol)
  count[name]++
  symbols[name "\t" substr(symbol, 1, 100)]++
  all++
}
END {
  if (!all) {
    print "no samples"
    exit
  }
  for (n = 1; n in names; n++)
    printf "%-16s %8.2f  %5.1f %%\n", names[n], cpu * count[names[n]] / all, 100 * count[names[n]] / all
  print ""
  sort = "sort -t '\t' -k 1,1gr | head -n 30"
  for (key in symbols) {
    split(key, parts, "\t")
    printf "%8.2f\t%-16s %s\n", cpu * symbols[key] / all, parts[1], parts[2] | sort
  }
  close(sort)
}
