// A ranker goes on with a newer artifact, and keeps the one it has where the other is refused.
// Usage: node renew.cjs FOLDER, which has ranker.kite, next.delta and ranker.pub; beside this file lies what wasm-bindgen made, as package/.
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { Ranker, applyDelta } = require("./package/kitestring_wasm.js");

const [folder] = process.argv.slice(2);
const keys = [readFileSync(`${folder}/ranker.pub`, "utf8")];
const first = readFileSync(`${folder}/ranker.kite`);
const second = applyDelta(first, readFileSync(`${folder}/next.delta`), keys);
const features = ["item", "genres", "price"];
const rows = ["arrival", "dune"].map(item => [item, null, 7]);
const now = 1700000000000;

const push = (ranker, item, id) => ranker.push("click", [item], new Float32Array(), now, now, id);
function scores(ranker) {
  ranker.setCandidates(features, rows, ranker.version);
  return ranker.rank().scores;
}

const ranker = new Ranker(first, keys);
ranker.observe(JSON.stringify({ actions: ["click"], columns: ["item"] }), new Uint8Array(), now);
// Ids have 64 bits: these two are one number to a double.
assert(push(ranker, "dune", 2n ** 60n).moved && push(ranker, "brazil", 2n ** 60n + 1n).kept);
assert(!push(ranker, "dune", 2n ** 60n).kept && push(ranker, "dune").kept && push(ranker, "dune").kept);
ranker.forget(now);
push(ranker, "dune", 1n);

// Candidates of another version are refused, and so is an artifact that is damaged or not trusted: all stays as it was.
const before = scores(ranker);
assert.throws(() => ranker.setCandidates(features, rows.slice(1), "example-2"), /the device has example-1/);
assert.throws(() => ranker.renew(first.subarray(1), keys, now));
assert.throws(() => ranker.renew(second, [], now), /trusted/);
assert.deepEqual([ranker.release, ranker.rank().scores], [1, before]);

// The newer one ranks as one that was opened and told the same; what was done before is known, once.
const expected = new Ranker(second, keys);
expected.append({ clicked: "dune" });
ranker.renew(second, keys, now);
assert.deepEqual([ranker.release, ranker.rank().scores.length], [2, 0]);
assert.deepEqual(scores(ranker), scores(expected));
assert.notDeepEqual(scores(ranker), before);
assert(!push(ranker, "dune", 1n).kept && push(ranker, "arrival", 2n).moved);
expected.append({ clicked: "arrival" });
assert.deepEqual(scores(ranker), scores(expected));
console.log("renewed");
