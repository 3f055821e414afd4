// Replays a session in the page: loads the runtime, an artifact and the steps of a session, ranks the candidates after every step that may
// change their order, and shows each ranking. Asks for nothing but the files beside it.
import load, { Ranker } from "./kitestring_wasm.js";

const place = document.getElementById("rankings");

/** Makes an element with attributes and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function fetched(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`);
  return response;
}

/** Does a step of a session; says what happened, or nothing where the order cannot have changed. */
function take(ranker, step) {
  if (step.set) for (const [feature, value] of Object.entries(step.set)) ranker.set(feature, value);
  if (step.scenarios) ranker.setScenarios(step.scenarios);
  if (step.candidates) ranker.setCandidates(step.candidates.features, step.candidates.rows, step.candidates.version);
  if (step.event) ranker.append(step.event);
  return step.title;
}

/** Shows a ranking by the first prediction, with where each candidate stood before. */
function show(title, names, ranker, before) {
  const start = performance.now();
  const ranking = ranker.rank();
  const took = performance.now() - start;
  const { scores, predictions: columns } = ranking;
  const bits = new Uint32Array(scores.buffer, scores.byteOffset, scores.length);
  const order = [...ranking.order(0)];
  ranking.free();

  const head = element("tr", {}, element("th", { class: "number" }, "Place"), element("th", {}, "Candidate"));
  for (const name of ranker.predictions) head.append(element("th", { class: "number" }, name), element("th"));
  const rows = order.map((candidate, at) => {
    const was = before.indexOf(candidate);
    const moved = was < 0 || was === at ? "" : was > at ? ` ▲${was - at}` : ` ▼${at - was}`;
    const row = element("tr", { "data-candidate": names[candidate] });
    row.append(element("td", { class: "number" }, `${at + 1}${moved}`), element("td", {}, names[candidate]));
    for (let column = 0; column < columns; column++) {
      const score = scores[candidate * columns + column];
      const shown = element("td", { class: "number score" }, score.toFixed(6));
      shown.dataset.bits = bits[candidate * columns + column].toString(16).padStart(8, "0");
      row.append(shown, element("td", {}, element("meter", { value: score, "aria-label": `${names[candidate]}: ${score.toFixed(2)}` })));
    }
    return row;
  });
  const time = element("p", { class: "time" }, `${order.length} candidates in ${took.toFixed(2)} ms`);
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  place.append(element("section", {}, element("h2", {}, title), table, time));
  return order;
}

try {
  await load();
  const [artifact, key, session] = await Promise.all([
    fetched("ranker.kite").then(response => response.arrayBuffer()),
    fetched("ranker.pub").then(response => response.text()),
    fetched("session.json").then(response => response.json()),
  ]);
  const ranker = new Ranker(new Uint8Array(artifact), [key]);
  document.getElementById("ranker").textContent =
    `${ranker.version}, release ${ranker.release}: ${artifact.byteLength} bytes, signature checked. ` +
    `It reads ${[...ranker.shared, ...ranker.ofItems].join(", ")}.`;
  let order = [], names = [];
  for (const step of session.steps) {
    const title = take(ranker, step);
    if (step.candidates) {
      names = step.candidates.names;
      order = [];
    }
    if (title) order = show(title, names, ranker, order);
  }
  document.body.dataset.state = "done";
} catch (error) {
  document.getElementById("ranker").replaceChildren(element("span", { class: "failed" }, String(error)));
  document.body.dataset.state = "failed";
}
