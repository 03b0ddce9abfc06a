"use strict";
// Keeps the page up to date: one small request a second, of whose answer only the parts that have changed are put in.
const at_id = id => document.getElementById(id);
const POLL_MS = 1000, SLOW_MS = 4000, GONE = 5;
let seen = 0, failures = 0, sent = null;

function show(state) {
  const line = at_id("state"), bar = at_id("bar");
  if (line.textContent !== state.text) line.textContent = state.text;
  line.className = state.kind;
  bar.hidden = !(state.total > 0) || state.kind === "finished";
  bar.max = state.total || 1;
  bar.value = state.done || 0;
  const left = state.left && `about ${state.left} left of this`, later = state.later && `about ${state.later} to the end of the run`;
  at_id("left").textContent = [left, later].filter(Boolean).join(", ");
  at_id("problem").hidden = !state.problem;
  at_id("problem").textContent = state.problem || "";
  const steering = state.steering || {};
  at_id("steer").hidden = !steering.shown;
  at_id("phase").textContent = steering.text || "";
  if (sent && steering.text !== sent) { answer(""); sent = null; }
}

// Puts HTML of the server into an element; what was open, scrolled or focused stays so.
function fill(element, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  const every = (place, what) => [...place.querySelectorAll(what)];
  const open = every(element, "details").map(part => part.open);
  const scrolled = every(element, ".scroll").map(part => part.scrollLeft);
  const focused = every(element, "a, summary, .scroll").indexOf(document.activeElement);
  element.replaceChildren(...fresh.childNodes);
  every(element, "details").forEach((part, n) => { part.open = open[n] ?? false; });
  every(element, ".scroll").forEach((part, n) => { part.scrollLeft = scrolled[n] ?? 0; });
  if (focused >= 0) every(element, "a, summary, .scroll")[focused]?.focus({ preventScroll: true });
}

function arrange(names) {
  const main = document.querySelector("main");
  names.forEach((name, n) => {
    let section = at_id(name);
    if (!section) {
      section = document.createElement("section");
      section.id = name;
      section.tabIndex = -1;
    }
    if (main.children[n] !== section) main.insertBefore(section, main.children[n] || null);
  });
  while (main.children.length > names.length) main.lastElementChild.remove();
}

function take(changes) {
  show(changes.state);
  if (changes.seen !== seen) {
    arrange(changes.sections);
    for (const [name, html] of Object.entries(changes.parts)) fill(at_id(name), html);
  }
  seen = changes.seen;
}

async function poll() {
  let wait = POLL_MS;
  if (!document.hidden) {
    try {
      const reply = await fetch(`changes?seen=${seen}`);
      if (!reply.ok) throw new Error(await reply.text());
      const changes = await reply.json();
      take(changes);
      failures = 0;
      if (changes.state.kind !== "running") wait = SLOW_MS;
    } catch (error) {
      failures += 1;
      if (failures >= GONE) {
        at_id("problem").hidden = false;
        at_id("problem").textContent = "This page is no longer kept up to date: edgeprune watch has ended. Start it again and open its new link.";
        wait = SLOW_MS;
      }
    }
  }
  setTimeout(poll, wait);
}

function answer(text, wrong = false) {
  at_id("answer").textContent = text;
  at_id("answer").className = wrong ? "wrong" : "";
}

async function steer(command) {
  answer("");
  try {
    const reply = await fetch("steer", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(command),
    });
    if (!reply.ok) return answer((await reply.text()).trim(), true);
    sent = at_id("phase").textContent;
    answer("Written. The run takes it at its next step, and reports every 50 steps.");
  } catch (error) {
    answer("edgeprune watch does not answer.", true);
  }
}

const typed = id => at_id(id).value.trim().replace("\u2212", "-");
at_id("more").addEventListener("click", () => steer({ interacting: `+${typed("amount")}` }));
at_id("less").addEventListener("click", () => steer({ interacting: `-${typed("amount")}` }));
at_id("aim").addEventListener("click", () => steer({ target: typed("target") }));
at_id("target").addEventListener("keydown", event => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  at_id("aim").click();
});
at_id("auto").addEventListener("click", () => steer({ auto: true }));
at_id("steering").addEventListener("submit", event => {
  event.preventDefault();
  steer({ interacting: typed("value") });
});
const first = JSON.parse(at_id("now").dataset.changes);
seen = first.seen;
show(first.state);
setTimeout(poll, POLL_MS);
