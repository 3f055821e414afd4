// Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.
// Usage: rank FOLDER, which has ranker.kite, next.delta and ranker.pub.

import Foundation

let films: [(String, [String], Double)] = [
    ("arrival", ["drama", "science fiction"], 9.5),
    ("brazil", ["comedy"], 4),
    ("contact", ["science fiction"], 7.25),
    ("dune", ["adventure", "science fiction"], 12),
]
let provided = ["city", "age", "clicked", "item", "genres", "price"]

let declaration = """
    {"actions": ["exposure", "click"], "columns": ["item"], "triggers": [
      {"name": "click", "sequence": [{"actions": ["click"]}]},
      {"name": "two clicks", "sequence": [{"actions": ["click"]}, {"actions": ["click"]}]}]}
    """

func show(_ ranker: Ranker) throws {
    let ranking = try ranker.rank()
    for film in ranking.orders[0] {
        let scores = ranking.scores[Int(film)].map { String(format: "%08x", $0.bitPattern) }
        print(([films[Int(film)].0] + scores).joined(separator: " "))
    }
}

func replay(_ ranker: Ranker) throws {
    print("release \(try ranker.release()) of \(try ranker.version())")
    try ranker.set(feature: "city", value: .text(text: "riga"))
    try ranker.set(feature: "age", value: .number(number: 31))
    try ranker.setScenarios(values: ["home"])
    let rows: [[Value]] = films.map { [.text(text: $0.0), .texts(texts: $0.1), .number(number: $0.2)] }
    try ranker.setCandidates(features: ["item", "genres", "price"], candidates: rows)
    try show(ranker)
    try ranker.append(event: ["clicked": "contact"])
    print("after a click")
    try show(ranker)

    // From here on the runtime keeps what the user does, and the histories with it.
    let now: Int64 = 1_700_000_000_000
    try ranker.observe(declaration: declaration, log: nil, now: now)
    for item in ["dune", "arrival"] {
        let effect = try ranker.push(event: Event(action: "click", texts: [item], numbers: [], time: now, id: nil), now: now)
        print((["a click on \(item) moved \(effect.moved ? 1 : 0) fired"] + effect.fired.map(String.init)).joined(separator: " "))
    }
    try show(ranker)
    try ranker.forget(now: now)
}

let folder = URL(fileURLWithPath: CommandLine.arguments[1])
func read(_ name: String) throws -> Data { try Data(contentsOf: folder.appendingPathComponent(name)) }
let key = String(decoding: try read("ranker.pub"), as: UTF8.self)
let shelf = try Shelf(folder: folder.appendingPathComponent("shelf").path, trusted: [key])
try replay(shelf.install(artifact: read("ranker.kite"), provided: provided))
try replay(shelf.update(delta: read("next.delta"), provided: provided))
