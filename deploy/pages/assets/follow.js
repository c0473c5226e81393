// Pages of the model owner that follow what happens: parts are fetched anew, and nothing that is typed is lost.

const STALE_MS = 60_000;
const WORKING_MS = 2_000;
const CALM_MS = 30_000;

const find = (what, within = document) => within.querySelector(what);
const all = (what, within = document) => [...within.querySelectorAll(what)];

let heard = Date.now();
let first = null;
let asking = false;
let again = false;
let timer = 0;
let due = Infinity;

function say(words) {
  const status = find("#status");
  if (status && status.textContent !== words) status.textContent = words;
}

// Somebody is at work in it: what was typed or opened there would be lost.
function held(part) {
  const typed = all("input", part).some((one) => one.value !== one.defaultValue);
  return typed || find("details[open]", part) !== null || part.contains(document.activeElement);
}

async function refresh() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const elsewhere = new URL(answer.url).pathname !== location.pathname;
    if (elsewhere || answer.status === 401) return say("You are signed out: load the page again.");
    if (!answer.ok) throw new Error(answer.statusText);
    const told = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of all("[data-follow]")) {
      const now = document.getElementById(part.id) && told.getElementById(part.id);
      if (now && !held(part) && now.outerHTML !== part.outerHTML) part.replaceWith(now);
    }
    heard = Date.now();
    say("");
  } catch {
    const since = new Date(heard).toTimeString().slice(0, 5);
    say(`Not up to date since ${since}. Trying again.`);
  } finally {
    asking = false;
    plan();
  }
}

function plan() {
  const soon = again || find("[data-working]");
  const at = Date.now() + (soon ? WORKING_MS : CALM_MS);
  again = false;
  if (document.hidden || due <= at) return;  // what comes again and again puts nothing off
  clearTimeout(timer);
  due = at;
  timer = setTimeout(() => { due = Infinity; refresh(); }, at - Date.now());
}

let changes = null;

function listen() {
  changes?.close();
  changes = new EventSource("/changes");
  changes.addEventListener("message", (event) => {
    const came = first !== null && event.data !== first;
    first = event.data;
    if (!came) return;
    const news = find("#news");
    if (news) news.hidden = false;
    again = true;
    plan();
  });
}

addEventListener("pagehide", () => changes?.close());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return changes?.close();
  listen();
  refresh();
});
setInterval(() => {
  if (!document.hidden && Date.now() - heard > STALE_MS) refresh();
}, 10_000);
listen();
plan();
