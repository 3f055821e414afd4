// Ranks four films for a user, before and after a click, and again when a delta made the newer artifact.
// Usage: node rank.cjs FOLDER, which has ranker.kite, next.delta and ranker.pub; beside this file lies what wasm-bindgen made, as package/.
const { readFileSync } = require("node:fs");
const { Ranker, applyDelta } = require("./package/kitestring_wasm.js");

const [folder] = process.argv.slice(2);
const keys = [readFileSync(`${folder}/ranker.pub`, "utf8")];
const films = [
  ["arrival", ["drama", "science fiction"], 9.5],
  ["brazil", ["comedy"], 4],
  ["contact", ["science fiction"], 7.25],
  ["dune", ["adventure", "science fiction"], 12],
];

const click = { actions: ["click"] };
const declaration = {
  actions: ["exposure", "click"],
  columns: ["item"],
  triggers: [{ name: "click", sequence: [click] }, { name: "two clicks", sequence: [click, click] }],
};

function print(ranker) {
  const ranking = ranker.rank();
  const { scores, predictions } = ranking;
  const bits = new Uint32Array(scores.buffer, scores.byteOffset, scores.length);
  for (const film of ranking.order(0)) {
    const words = [...bits.subarray(film * predictions, (film + 1) * predictions)];
    console.log([films[film][0], ...words.map(word => word.toString(16).padStart(8, "0"))].join(" "));
  }
  ranking.free();
}

function replay(artifact) {
  const ranker = new Ranker(artifact, keys);
  console.log(`release ${ranker.release} of ${ranker.version}`);
  ranker.set("city", "riga");
  ranker.set("age", 31);
  ranker.setScenarios(["home"]);
  ranker.setCandidates(["item", "genres", "price"], films);
  print(ranker);
  ranker.append({ clicked: "contact" });
  console.log("after a click");
  print(ranker);

  // From here on the runtime keeps what the user does, and the histories with it.
  const now = 1700000000000;
  ranker.observe(JSON.stringify(declaration), new Uint8Array(), now);
  for (const item of ["dune", "arrival"]) {
    const effect = ranker.push("click", [item], new Float32Array(), now, now);
    console.log([`a click on ${item} moved ${Number(effect.moved)} fired`, ...effect.fired].join(" "));
    effect.free();
  }
  print(ranker);
  ranker.forget(now);
  ranker.free();
}

const artifact = readFileSync(`${folder}/ranker.kite`);
replay(artifact);
replay(applyDelta(artifact, readFileSync(`${folder}/next.delta`), keys));
