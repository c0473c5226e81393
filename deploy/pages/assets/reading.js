// The reader's pages: keys, answers without a new page, who the patients are, what has changed meanwhile.
// Nothing is kept in the browser but whether one-letter keys are wanted.

const find = (what, within = document) => within.querySelector(what);
const all = (what, within = document) => [...within.querySelectorAll(what)];
const HERE_EVERY_MS = 15_000;
const AT_WORK_MS = 60_000;
const STALE_MS = 60_000;
const FORGOTTEN_MS = 3_600_000;

function say(words, failed = false) {
  const status = find("#status");
  if (!status) return;
  status.textContent = words;
  status.classList.toggle("wrong", failed);
}

const post = (address, fields = {}) =>
  fetch(address, { method: "POST", body: new URLSearchParams(fields), headers: { accept: "text/html" } });

// Who the patients are ------------------------------------------------------------------------------------

async function askNames() {
  const rows = all("tr[data-study]");
  const study = find("#study");
  try {
    if (rows.length) {
      const pages = rows.map((row) => row.dataset.study).join(",");
      const answer = await post("/worklist/names", { pages });
      if (!answer.ok) throw new Error(answer.statusText);
      const known = await answer.json();
      for (const row of rows) show(row, known[row.dataset.study]);
    } else if (study) {
      const answer = await fetch(`/studies/${study.dataset.study}/patient`);
      if (!answer.ok) throw new Error(answer.statusText);
      show(study, await answer.json());
    }
  } catch {
    for (const made of all("[data-made]")) made.textContent = "(the archive does not answer)";
  }
}

function show(within, patient) {
  if (!patient?.name) return;
  find("[data-name]", within).textContent = patient.born ? `${patient.name} *${patient.born}` : patient.name;
  find("[data-made]", within).textContent = patient.made ? `CT ${patient.made}` : "";
}

// Answers -------------------------------------------------------------------------------------------------

let again = null;
let saving = false;

async function answer(form, button) {
  if (saving) return;  // one act at a time: a second press is not meant for the next organ
  saving = true;
  again = null;
  say("Saving…");
  try {
    const fields = new FormData(form, button);
    const answered = await fetch(form.action, {
      method: "POST", body: new URLSearchParams(fields), headers: { accept: "text/html" }, redirect: "manual",
    });
    if (answered.type !== "opaqueredirect") await refuse(answered, form, button);
    else await saved();
  } catch {
    say("Not saved. Enter tries again.", true);
    again = () => answer(form, button);
  } finally {
    saving = false;
  }
}

async function refuse(answered, form, button) {
  if (answered.status === 401) return say("Not saved. You are signed out: load the page again.", true);
  const told = new DOMParser().parseFromString(await answered.text(), "text/html");
  const why = find("main p", told)?.textContent.trim();
  const tries = answered.status >= 500;
  say(`Not saved. ${why ?? ""} ${tries ? "Enter tries again." : ""}`, true);
  if (tries) again = () => answer(form, button);
}

async function saved() {
  const place = focused()?.dataset.organ;
  const open = find("#others")?.open;
  try {
    const page = await fetch(location.pathname, { headers: { accept: "text/html" } });
    if (!page.ok) throw new Error(page.statusText);
    take(new DOMParser().parseFromString(await page.text(), "text/html"));
  } catch {
    return say("Saved. The page cannot be shown anew now: load it again.", true);
  }
  if (open) find("#others").open = true;
  const done = find("#status").textContent;
  say(done ? `Saved. ${done}` : "Saved.");
  const next = all("[data-organ]").find((one) => !find(".given", one));
  (next ?? (place && document.getElementById(place)))?.focus({ preventScroll: !next });
  next?.scrollIntoView({ block: "nearest" });
}

function take(told) {
  find("#study").replaceWith(find("#study", told));
  document.title = told.title;
  listen();
  askNames();
}

function listen() {
  for (const form of all("form[data-answer]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer(form, event.submitter);
    });
  }
  const off = find("#keys-off");
  if (off) {
    off.checked = localStorage.getItem("keys") === "off";
    off.addEventListener("change", () => localStorage.setItem("keys", off.checked ? "off" : "on"));
  }
}

// Keys ----------------------------------------------------------------------------------------------------

const PLACES = "[data-organ], tr[data-study]";
const focused = () => document.activeElement?.closest(PLACES);

function step(by) {
  const places = all(PLACES);
  if (!places.length) return;
  const at = places.indexOf(focused());
  const next = places[Math.min(Math.max(at + by, 0), places.length - 1)];
  (next.matches("tr") ? find("a", next) : next).focus();
  next.scrollIntoView({ block: "nearest" });
}

function onScreen(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function press(key) {
  const within = focused();
  const open = within && find(".wrong-how[open]", within);
  if (key === "A" && find("#others") && !find("#others").open) return say("Look at them first: v opens them.");
  if (/[1-6]/.test(key) && !open) return;
  if (/[1-6auwse]/.test(key)) {
    if (!find("[data-organ]")) return;
    if (!within?.matches("[data-organ]") || !onScreen(within)) return say("Choose an organ first: j and k.");
  }
  const marked = (place) => all(`[data-key="${CSS.escape(key)}"]`, place).find((one) => one.checkVisibility());
  const target = /[1-6auwse]/.test(key) ? marked(within) : marked(document);
  target?.click();
  if (target?.matches("summary")) find("button", target.parentElement)?.focus();
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => find("#search")?.focus(),
  r: () => find("#news")?.hidden === false && location.reload(),
  o: () => document.body.classList.toggle("no-outlines"),
  z: () => document.body.classList.toggle("large"),
  v: () => find("#others") && (find("#others").open = !find("#others").open),
  "?": () => find("details.keys") && (find("details.keys").open = !find("details.keys").open),
};

document.addEventListener("keydown", (event) => {
  lastSign = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input:not([type=checkbox], [type=radio]), select, textarea")) return;
  if (event.key === "Enter" && again && !event.target.matches("a, button, summary")) {
    event.preventDefault();
    return again();
  }
  if (event.key.length !== 1 || localStorage.getItem("keys") === "off") return;
  const asked = find("[data-question]");
  if (asked && /^[1-9]$/.test(event.key)) {
    const open = all("fieldset", asked).find((one) => !find(":checked", one)) ?? find("fieldset", asked);
    const choice = find(`[data-number="${event.key}"]`, open);
    choice?.focus();
    choice?.click();
    return;
  }
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  } else if (/^[a-zA-Z1-6]$/.test(event.key)) press(event.key);
});

// Signs of life, and what has changed ---------------------------------------------------------------------

let lastSign = Date.now();
let lastHere = 0;
document.addEventListener("pointermove", () => (lastSign = Date.now()));

// The viewer's window that this page opened. It tells of acts (deploy/viewer/app-config.js); without one for an
// hour it is forgotten. Where nothing happened for a minute the study stays reserved, and nobody reads.
let viewer = null;
let lastInViewer = 0;

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[target="organloop-viewer"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  viewer = open(link.href, link.target);
  lastInViewer = Date.now();
});

addEventListener("message", (event) => {
  if (!viewer || event.source !== viewer || event.data !== "organloop-viewer-act") return;
  lastInViewer = Date.now();
  if (lastInViewer - lastHere > HERE_EVERY_MS) here();  // timers of a hidden page are late
});

async function here() {
  const study = find("#study[data-mine]");
  const now = Date.now();
  const atWork = !document.hidden && now - lastSign <= AT_WORK_MS;
  const inViewer = viewer && !viewer.closed && now - lastInViewer <= FORGOTTEN_MS;
  if (!study || !(atWork || inViewer)) return;
  lastHere = now;
  const reading = atWork || now - lastInViewer <= AT_WORK_MS;
  const answered = await post(`/studies/${study.dataset.study}/here`, { reading }).catch(() => null);
  if (!answered?.ok) return;
  const told = await answered.json();
  if (told.result !== study.dataset.result) say("Drawn anew meanwhile: load the page again to see it.", true);
  else if (!told.mine) say(`${told.holder} has taken this study over.`, true);
}

let heard = Date.now();
let told = null;

function follow() {
  const changes = new EventSource("/changes");
  changes.addEventListener("message", (event) => {
    heard = Date.now();
    if (told !== event.data) changed();  // the first time too: something may have come since the page was made
    told = event.data;
  });
  changes.addEventListener("open", () => (heard = Date.now()));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) changes.close();
    else if (changes.readyState === EventSource.CLOSED) location.reload();
  });
}

async function changed() {
  const table = find("#rows");
  const narrow = find("#narrow");
  if (!table || !narrow) return;
  const answered = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answered?.ok) return;
  const now = new DOMParser().parseFromString(await answered.text(), "text/html");
  const there = all("tr[data-study]", now).map((row) => row.dataset.study);
  const shown = all("tr[data-study]").map((row) => row.dataset.study);
  for (const row of all("tr[data-study]")) {  // rows never move under the pointer
    const same = now.getElementById(row.dataset.study);
    if (same) find("[data-holder]", row).textContent = find("[data-holder]", same).textContent;
    row.classList.toggle("gone", !same);
  }
  find("h1").textContent = find("h1", now).textContent;
  find("#news").hidden = there.join() === shown.join();
}

setInterval(() => {
  here();
  if (!document.hidden) changed();  // who opens a study is no event of the log
  if (find("#rows") && Date.now() - heard > STALE_MS) {
    say(`Not up to date since ${new Date(heard).toLocaleTimeString([], { timeStyle: "short" })}. Trying again.`, true);
  }
}, HERE_EVERY_MS);

addEventListener("pagehide", () => {
  const study = find("#study[data-mine]");
  if (study) navigator.sendBeacon(`/studies/${study.dataset.study}/leave`);
});

find("#show-new")?.addEventListener("click", () => location.reload());
listen();
askNames();
here();  // a page that is loaded again has given the study back behind this one's opening
if (find("#narrow")) follow();
