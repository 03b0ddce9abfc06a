// Measures in a worker: asks the computer for a task, does it, sends the raw numbers back, and asks for the next.

const here = new URL("./", import.meta.url);
// Half of the round within these bounds, longer than a native runner's: compilers of WebAssembly replace code by faster
// code while it runs. A slow model is warm after two runs.
const LEAST_WARM_MS = 200, MOST_WARM_MS = 500, WARM_RUNS = 10, SLOW_MS = 2000;
const STEPS = 100; // of the clock in a sample at least: a step is then 1 % of it
const MIN_SAMPLES = 3;
const PATIENCE_MS = 60_000; // without an answer from the computer
const BUNDLES = { wasm: "ort/ort.wasm.min.mjs", webgpu: "ort/ort.webgpu.min.mjs" };

let ort = null; // the runtime, loaded with the first task
let visit = 0;
let clockStep = 1;
const files = new Map(); // name -> bytes that a task brought along
let kept = null; // the session of the last outputs, for the next

// --- what the browser says of itself ---------------------------------------------------------------------------

function measuredClockStep() {
  let least = 1000, last = performance.now(), seen = 0;
  const until = last + 400;
  while (seen < 200 && last < until) {
    const now = performance.now();
    if (now > last) {
      least = Math.min(least, now - last);
      last = now;
      seen += 1;
    }
  }
  return least;
}

async function adapter() {
  if (!self.isSecureContext) return { no_gpu: "WebGPU needs https or localhost" };
  if (!navigator.gpu) return { no_gpu: "this browser has no WebGPU" };
  try {
    const found = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!found) return { no_gpu: "the browser gives no WebGPU adapter" };
    const { vendor, architecture, device, description } = found.info ?? {};
    const known = Object.entries({ vendor, architecture, device, description }).filter(([, text]) => text);
    return { gpu: Object.fromEntries(known) };
  } catch (error) {
    return { no_gpu: short(error) };
  }
}

async function hello() {
  clockStep = measuredClockStep();
  const data = navigator.userAgentData;
  const more = (await data?.getHighEntropyValues?.(["platformVersion", "model", "architecture", "fullVersionList"])
    .catch(() => null)) ?? {};
  return {
    user_agent: navigator.userAgent.slice(0, 500),
    brands: (more.fullVersionList ?? data?.brands ?? []).map(({ brand, version }) => `${brand} ${version}`),
    platform: data?.platform || null,
    platform_version: more.platformVersion || null,
    model: more.model || null,
    architecture: more.architecture || null,
    cores: navigator.hardwareConcurrency ?? null,
    memory_gb: navigator.deviceMemory ?? null,
    secure: self.isSecureContext,
    isolated: self.crossOriginIsolated === true,
    clock_step_ms: clockStep,
    ...(await adapter()),
  };
}

// --- whether the page was hidden ---------------------------------------------------------------------------------

const hidden = []; // [from, to] in Date.now(), which goes on while the device sleeps
self.onmessage = ({ data }) => {
  const last = hidden.at(-1);
  if (data.hidden) hidden.push([data.at, Infinity]);
  else if (last) last[1] = data.at;
};
const turn = () => new Promise((resolve) => setTimeout(resolve, 0)); // messages are delivered meanwhile
const isHidden = () => hidden.at(-1)?.[1] === Infinity;

function hiddenBetween(from, to) {
  return hidden.reduce((sum, [start, end]) => sum + Math.max(0, Math.min(to, end) - Math.max(from, start)), 0);
}

async function untilVisible() {
  await turn();
  while (isHidden()) await new Promise((resolve) => setTimeout(resolve, 200));
}

// --- talking to the computer ---------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

async function talk(path, options = {}) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      const answer = await fetch(new URL(path, here), options);
      if (answer.ok) return answer;
      throw new Refused((await answer.text()).trim() || `the computer answers ${answer.status}`, answer.status);
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (Date.now() > until) throw new Refused("The computer does not answer: has the measurement ended there?");
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

const post = (path, body) => talk(path, { method: "POST", body });

async function answer(task, [body, path]) {
  try {
    await post(`${path}?visit=${visit}&number=${task.number}`, body);
  } catch (error) {
    if (error.status !== 409) throw error; // the computer has gone on to another task meanwhile
  }
}

async function bytes(name) {
  if (!files.has(name)) files.set(name, new Uint8Array(await (await talk(`blob/${name}`)).arrayBuffer()));
  return files.get(name);
}

function forget(names) {
  for (const name of files.keys()) if (!names.has(name)) files.delete(name);
}

function short(error) {
  return String(error?.message ?? error).split("\n")[0].slice(0, 1000);
}

// --- tasks -----------------------------------------------------------------------------------------------------

async function session(task) {
  if (!ort) {
    ort = await import(new URL(BUNDLES[task.provider], here));
    ort.env.wasm.wasmPaths = new URL("ort/", here).href;
    ort.env.wasm.numThreads = task.threads;
    ort.env.logLevel = "error";
  }
  const model = await bytes(task.model);
  const externalData = await Promise.all(
    task.external.map(async ({ path, blob }) => ({ path, data: await bytes(blob) })),
  );
  const began = performance.now();
  const made = await ort.InferenceSession.create(model, {
    executionProviders: [task.provider],
    ...(externalData.length ? { externalData } : {}),
  });
  return [made, performance.now() - began];
}

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array, int8: Int8Array,
  uint8: Uint8Array, bool: Uint8Array, float16: globalThis.Float16Array ?? Uint16Array,
};

async function feeds(task) {
  const all = await bytes(task.feed);
  let at = 0;
  return Object.fromEntries(task.inputs.map(({ name, type, dims }) => {
    const count = dims.reduce((product, size) => product * size, 1);
    const data = new ARRAYS[type](all.slice(at, at + count * ARRAYS[type].BYTES_PER_ELEMENT).buffer);
    at += data.byteLength;
    return [name, new ort.Tensor(type, data, dims)];
  }));
}

async function release() {
  await kept?.session.release();
  kept = null;
}

async function round(task) {
  await release();
  await untilVisible();
  const from = Date.now();
  const [model, load] = await session(task);
  try {
    const feed = await feeds(task);
    const first = await timed(model, feed, 1);
    const warm = await warmUp(model, feed, first, Math.min(MOST_WARM_MS, Math.max(LEAST_WARM_MS, 500 * task.seconds)));
    const group = Math.max(1, Math.ceil((STEPS * clockStep) / warm.typical));
    const samples = [];
    const began = performance.now();
    let end = began;
    while (end - began < task.seconds * 1000 || samples.length < MIN_SAMPLES) {
      samples.push((await timed(model, feed, group)) / group);
      end = performance.now();
    }
    await turn();
    return {
      load_ms: load, first_ms: first, warm_runs: warm.runs, warm_ms: warm.ms, runs_per_sample: group,
      samples_ms: samples, window_ms: end - began, hidden_ms: hiddenBetween(from, Date.now()),
    };
  } finally {
    await model.release();
  }
}

async function timed(model, feed, runs) {
  const began = performance.now();
  for (let run = 0; run < runs; run += 1) await model.run(feed);
  return performance.now() - began;
}

// Runs until the code is warm; an inference is typically as long as those of the last half of the time.
async function warmUp(model, feed, first, warmMs) {
  let ms = first, runs = 1, lateMs = 0, lateRuns = 0;
  while (!((ms >= warmMs && runs >= WARM_RUNS) || (ms >= SLOW_MS && runs >= 2))) {
    const took = await timed(model, feed, 1);
    ms += took;
    runs += 1;
    if (ms > warmMs / 2) {
      lateMs += took;
      lateRuns += 1;
    }
  }
  return { ms, runs, typical: Math.max(lateRuns ? lateMs / lateRuns : ms / runs, 1e-3) };
}

async function outputs(task) {
  await untilVisible();
  if (kept?.model !== task.model) {
    await release();
    kept = { model: task.model, session: (await session(task))[0] };
  }
  const results = await kept.session.run(await feeds(task));
  const parts = await Promise.all(task.outputs.map(async (name) => {
    const data = await results[name].getData();
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }));
  return new Blob(parts);
}

const TASKS = {
  round: async (task) => JSON.stringify(await round(task)),
  outputs,
};

// --- the loop ----------------------------------------------------------------------------------------------------

async function work(task) {
  forget(new Set([task.model, task.feed, ...task.external.map(({ blob }) => blob), ...(task.keep ?? [])]));
  try {
    return [await TASKS[task.kind](task), "reply"];
  } catch (error) {
    return [JSON.stringify({ error: short(error) }), "failure"];
  }
}

async function main() {
  const words = await hello();
  self.postMessage({ about: words.user_agent });
  visit = (await (await post("hello", JSON.stringify(words))).json()).visit;
  let answered = 0;
  for (;;) {
    const task = await (await talk(`task?visit=${visit}&answered=${answered}`)).json();
    if (task.kind === "over") throw new Refused("The measurement goes on in another tab: this page has stopped.");
    if (task.progress) self.postMessage({ progress: task.progress });
    if (task.kind === "wait") continue;
    if (task.kind === "end") self.postMessage(task.error ? { error: task.error } : { result: task.result });
    await answer(task, task.kind === "end" ? ["{}", "reply"] : await work(task));
    if (task.kind === "end") return;
    answered = task.number;
  }
}

main().catch((error) => self.postMessage({ error: short(error) }));
