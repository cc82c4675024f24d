// Two things that a page cannot do by itself: show itself again, and follow the log. Without this file every page works.
"use strict";

// Part of a page that shows itself again: <div id data-refresh="milliseconds">, until it comes without. Not while nobody
// looks, nor while somebody is inside with the keyboard.
for (const part of document.querySelectorAll("[data-refresh]")) {
  const timer = setInterval(async () => {
    const here = document.getElementById(part.id);
    if (document.hidden || !here || here.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      // A session that is over ends at the login page: go there.
      if (answer.redirected) return location.reload();
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (fresh) { here.replaceChildren(...fresh.childNodes); document.title = page.title; }
      if (fresh && !fresh.dataset.refresh) {
        clearInterval(timer);
        // What was said of the deed was true when it was asked for.
        document.querySelector("p.said")?.remove();
      }
    } catch { /* The daemon restarts: the next try will tell. */ }
  }, Number(part.dataset.refresh));
}

// The live tail: rows behind the newest one, put before it.
const live = document.getElementById("live");
if (live) {
  const rows = document.getElementById("rows");
  const said = document.getElementById("live-said");
  const MOST = 500;
  let newest = Number(live.dataset.newest);
  const look = async () => {
    if (!live.checked || document.hidden) return;
    try {
      const answer = await fetch(`${live.dataset.tail}&after=${newest}`, { headers: { accept: "text/html" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) { said.textContent = "no answer"; return; }
      const table = document.createElement("table");
      const body = table.createTBody();
      // The server escapes what is in it; this is a fragment of its own page.
      body.innerHTML = await answer.text();
      const fresh = [...body.rows];
      const skipped = body.querySelector("tr.skipped");
      if (skipped) {
        skipped.querySelector("a").href = `${live.dataset.tail.replace("/rows?", "?")}&before=${skipped.dataset.before}`;
      }
      if (fresh.length) {
        newest = Number(fresh[0].dataset.position ?? newest);
        rows.prepend(...fresh);
        while (rows.rows.length > MOST) rows.deleteRow(-1);
      }
      said.textContent = `followed at ${new Date().toISOString().slice(11, 19)}`;
    } catch { said.textContent = "no answer"; }
  };
  setInterval(look, 2000);
  live.addEventListener("change", () => { said.textContent = live.checked ? "follows" : ""; look(); });
}
