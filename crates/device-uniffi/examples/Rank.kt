// Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.
// Usage: rank FOLDER, which has ranker.kite, next.delta and ranker.pub.

import java.io.File
import uniffi.kitestring.Event
import uniffi.kitestring.Ranker
import uniffi.kitestring.Shelf
import uniffi.kitestring.Value

val films = listOf(
    Triple("arrival", listOf("drama", "science fiction"), 9.5),
    Triple("brazil", listOf("comedy"), 4.0),
    Triple("contact", listOf("science fiction"), 7.25),
    Triple("dune", listOf("adventure", "science fiction"), 12.0)
)
val provided = listOf("city", "age", "clicked", "item", "genres", "price")

const val DECLARATION = """{"actions": ["exposure", "click"], "columns": ["item"], "triggers": [
  {"name": "click", "sequence": [{"actions": ["click"]}]},
  {"name": "two clicks", "sequence": [{"actions": ["click"]}, {"actions": ["click"]}]}]}"""

fun show(ranker: Ranker) {
    val ranking = ranker.rank()
    for (film in ranking.orders[0]) {
        val scores = ranking.scores[film.toInt()].map { String.format("%08x", java.lang.Float.floatToRawIntBits(it)) }
        println((listOf(films[film.toInt()].first) + scores).joinToString(" "))
    }
}

fun replay(ranker: Ranker) {
    println("release ${ranker.release()} of ${ranker.version()}")
    ranker.set("city", Value.Text("riga"))
    ranker.set("age", Value.Number(31.0))
    ranker.setScenarios(listOf("home"))
    val rows = films.map { listOf(Value.Text(it.first), Value.Texts(it.second), Value.Number(it.third)) }
    ranker.setCandidates(listOf("item", "genres", "price"), rows)
    show(ranker)
    ranker.append(mapOf("clicked" to "contact"))
    println("after a click")
    show(ranker)

    // From here on the runtime keeps what the user does, and the histories with it.
    val now = 1_700_000_000_000
    ranker.observe(DECLARATION, null, now)
    for (item in listOf("dune", "arrival")) {
        val effect = ranker.push(Event("click", listOf(item), listOf(), now, null), now)
        println((listOf("a click on $item moved ${if (effect.moved) 1 else 0} fired") + effect.fired).joinToString(" "))
    }
    show(ranker)
    ranker.forget(now)
}

fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val shelf = Shelf(File(folder, "shelf").path, listOf(File(folder, "ranker.pub").readText()))
    replay(shelf.install(File(folder, "ranker.kite").readBytes(), provided))
    replay(shelf.update(File(folder, "next.delta").readBytes(), provided))
}
