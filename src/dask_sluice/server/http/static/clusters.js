// Keeps the list of clusters as it is on the server, and stops one when asked to.
//
// The server renders the list, here and there alike: on news we fetch the page again and take over the
// rows that differ. So there is one template, and nothing to keep in step.
"use strict";

const list = document.getElementById("clusters");
const status = document.getElementById("status");
const dialog = document.getElementById("confirm");
const prefix = list.dataset.prefix;
const GATHER_MS = 150; // events come in bursts: one look for all of them

let planned = 0;
let looking = false;
let lookAgain = false;

function say(text, trouble = false) {
  status.textContent = text;
  status.classList.toggle("trouble", trouble);
}

function lookSoon() {
  clearTimeout(planned);
  planned = setTimeout(look, GATHER_MS);
}

async function look() {
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  try {
    const answer = await fetch(`${prefix}/`, { headers: { Accept: "text/html" } });
    if (answer.redirected) {
      location.reload(); // logged out elsewhere
      return;
    }
    if (answer.ok) takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The stream notices too, and says so.
  } finally {
    looking = false;
    if (lookAgain) {
      lookAgain = false;
      lookSoon();
    }
  }
}

function takeOver(page) {
  const news = page.getElementById("clusters");
  const focused = document.activeElement?.dataset?.stop;
  const shape = (root) => [...root.querySelectorAll("tr[id], section, caption")].map((e) => e.id || e.tagName).join();
  if (shape(list) === shape(news)) {
    for (const row of news.querySelectorAll("tr[id]")) {
      const old = document.getElementById(row.id);
      prepare(row);
      if (old.outerHTML !== row.outerHTML) old.replaceWith(document.importNode(row, true));
    }
  } else {
    prepare(news);
    list.replaceChildren(...[...news.childNodes].map((node) => document.importNode(node, true)));
  }
  if (focused) list.querySelector(`[data-stop="${CSS.escape(focused)}"]`)?.focus();
}

// Without this script the buttons would do nothing, so the server sends them hidden.
function prepare(root) {
  for (const button of root.querySelectorAll("[data-stop]")) button.hidden = false;
}

list.addEventListener("click", (click) => {
  const name = click.target.closest("[data-stop]")?.dataset.stop;
  if (!name) return;
  dialog.querySelector("[data-name]").textContent = name;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => dialog.returnValue === "yes" && stop(name), { once: true });
  dialog.showModal();
});

async function stop(name) {
  say(`Stopping ${name} …`);
  try {
    const answer = await fetch(`${prefix}/api/v2/clusters/${encodeURIComponent(name)}`, { method: "DELETE" });
    if (answer.ok) say(`${name} is stopping.`);
    else say((await answer.json()).detail, true);
  } catch {
    say(`${name} could not be stopped: the server does not answer.`, true);
  }
  lookSoon();
}

function age(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function growOlder() {
  for (const time of list.querySelectorAll("time")) {
    const ago = time.textContent.endsWith(" ago") ? " ago" : "";
    time.textContent = age((Date.now() - Date.parse(time.dateTime)) / 1000) + ago;
  }
}

function follow() {
  const events = new EventSource(`${prefix}/api/v2/events?after=${list.dataset.after}`);
  let broken = false;
  events.onmessage = lookSoon;
  events.onopen = () => {
    if (broken) {
      broken = false;
      say("");
      lookSoon();
    }
  };
  events.onerror = () => {
    broken = true;
    say("The connection to the server is lost; trying again …", true);
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000); // an answer that is no stream ends it
  };
}

prepare(list);
setInterval(growOlder, 5000);
follow();
