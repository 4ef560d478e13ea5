package rbe.edge

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.launch

/** The answer to a question, piece by piece: [Conversation.ask] at each collection. Whoever stops collecting cancels it. */
fun Conversation.answer(question: String, options: GenerationOptions = GenerationOptions()): Flow<String> =
    pieces { ask(question, options) }

/** What continues a text, piece by piece: [Session.complete] at each collection. Whoever stops collecting cancels it. */
fun Session.completion(prompt: String, options: GenerationOptions = GenerationOptions()): Flow<String> =
    pieces { complete(prompt, options) }

private fun pieces(start: () -> Generation): Flow<String> =
    callbackFlow {
        val generation = start()
        launch {
            generation.use {
                while (true) {
                    send(it.next() ?: break)
                }
            }
            close()
        }
        awaitClose { generation.cancel() } // ends the call that runs, in the middle of a prompt too
    }.flowOn(Dispatchers.Default)
