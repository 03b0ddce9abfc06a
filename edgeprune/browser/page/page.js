// What a person sees. The measuring is done by runner.js, in a worker, so that drawing does not disturb it.

const byId = (name) => document.getElementById(name);
const runner = new Worker(new URL("runner.js", import.meta.url), { type: "module" });
let began = null; // when the first progress came, and how much was done then
let over = false;

runner.onmessage = ({ data }) => {
  if (data.about) byId("about").textContent = data.about;
  if (data.progress) showProgress(data.progress);
  if (data.error) showError(data.error);
  if (data.result) showResult(data.result);
};
runner.onerror = (event) => showError(event.message || "This browser cannot run the page: update it.");

function showProgress({ done, total, text }) {
  if (over || !text) return;
  byId("status").textContent = text;
  if (!total) return;
  byId("bar").value = done / total;
  began ??= { at: performance.now(), done };
  const share = (done - began.done) / (total - began.done);
  const left = share > 0 ? ((performance.now() - began.at) * (1 - share)) / share / 1000 : 0;
  byId("left").textContent = left > 0 ? `about ${duration(left)} left` : "";
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

function end(text) {
  over = true;
  byId("status").textContent = text;
  for (const name of ["bar", "left", "advice"]) byId(name).hidden = true;
  lock?.release().catch(() => {});
}

function showError(text) {
  if (over) return;
  end("Not measured");
  byId("error").textContent = text;
  byId("error").hidden = false;
}

function showResult({ title, headline, interval, columns, rows, remarks }) {
  end(title);
  byId("speedup").textContent = headline;
  if (interval) byId("speedup").append(element("small", interval));
  byId("speedup").hidden = !headline;
  document.querySelector("thead").replaceChildren(row(columns, "th"));
  document.querySelector("tbody").replaceChildren(...rows.map((cells) => row(cells, "td")));
  byId("remarks").replaceChildren(...remarks.map((line) => element("p", line)));
  byId("result").hidden = false;
}

function row(cells, kind) {
  const line = document.createElement("tr");
  line.append(...cells.map((text, place) => element(place === 0 ? "th" : kind, text)));
  return line;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

// The screen is kept on where a page may do so: only in a secure context, and a hidden page loses it again.
let lock = null;
async function keepAwake() {
  try {
    lock = (await navigator.wakeLock?.request("screen")) ?? null;
  } catch {
    lock = null; // low battery, or the browser wants a tap first
  }
}
document.addEventListener("visibilitychange", () => {
  runner.postMessage({ hidden: document.hidden, at: Date.now() });
  if (!document.hidden && !over) keepAwake();
});
keepAwake();
