// What the Kotlin that UniFFI writes uses of the standard library, and Debian's 1.3 has not.
package uniffi.kitestring

import java.io.PrintWriter
import java.io.StringWriter

fun Throwable.stackTraceToString(): String = StringWriter().also { printStackTrace(PrintWriter(it)) }.toString()

fun <K, V> buildMap(capacity: Int, fill: MutableMap<K, V>.() -> Unit): Map<K, V> = LinkedHashMap<K, V>(capacity).apply(fill)
