// A ranker learns a user who takes one of four films at every sight, keeps what it learned, and forgets it.
// Usage: node learn.cjs FOLDER, which has ranker.kite and ranker.pub; beside this file lies what wasm-bindgen made, as package/.
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { Ranker } = require("./package/kitestring_wasm.js");

const [folder] = process.argv.slice(2);
const keys = [readFileSync(`${folder}/ranker.pub`, "utf8")];
const artifact = readFileSync(`${folder}/ranker.kite`);
const films = [
  ["arrival", ["drama", "science fiction"]],
  ["brazil", ["comedy"]],
  ["contact", ["science fiction"]],
  ["dune", ["adventure", "science fiction"]],
];
function at(ranker, round) {
  ranker.set("age", 20 + ((7 * round) % 50));
  ranker.setCandidates(["item", "genres", "price"], films.map(film => [...film, 4 + (round % 7)]));
  return Array.from(ranker.rank().scores);
}

const ranker = new Ranker(artifact, keys);
const before = at(ranker, 0);
assert.equal(ranker.learned().length, 0);
assert.throws(() => ranker.learnBy('{"learning": {"rate": 0}}'), /rate/);
ranker.learnBy('{"most": 200, "learning": {"epochs": 10}}');
for (let round = 0; round < 40; round++) {
  at(ranker, round);
  films.forEach((_, film) => assert(ranker.label(ranker.show(film, film + 1), "click", film === round % 4 ? 1 : 0)));
}
assert.throws(() => ranker.show(4, 1), /no candidate 4/);
assert.throws(() => ranker.label(0, "clack", 1), /click/);
const lesson = ranker.learn();
assert.deepEqual([lesson.taken, lesson.examples, lesson.judged], [true, 160, 128]);
assert(lesson.learned < lesson.artifact);
const after = at(ranker, 0);

// It is kept by the page, and refused where it is damaged.
const learned = ranker.learned();
const again = new Ranker(artifact, keys);
again.useLearned(learned);
assert.deepEqual(at(again, 0), after);
learned[learned.length - 40] ^= 1;
assert.throws(() => again.useLearned(learned), /damaged/);
assert.deepEqual(at(again, 0), after);
again.useLearned(new Uint8Array());
assert.deepEqual(at(again, 0), before);

// What the user has forgotten teaches nothing.
const now = 1700000000000;
ranker.observe(JSON.stringify({ actions: ["click"], columns: ["item"] }), new Uint8Array(), now);
ranker.forget(now);
assert.deepEqual([ranker.learned().length, at(ranker, 0), ranker.learn().examples], [0, before, 0]);
console.log(JSON.stringify([before, after]));
