// Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.
// Usage: rank FOLDER, which has ranker.kite, next.delta and ranker.pub.

import java.io.File
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
}

fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val shelf = Shelf(File(folder, "shelf").path, listOf(File(folder, "ranker.pub").readText()))
    replay(shelf.install(File(folder, "ranker.kite").readBytes(), provided))
    replay(shelf.update(File(folder, "next.delta").readBytes(), provided))
}
