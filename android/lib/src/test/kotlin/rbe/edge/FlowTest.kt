package rbe.edge

import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test

class FlowTest {
    @Test
    fun theFlowIsTheText() = runBlocking {
        Model.open(Fixture.TINY).use { model ->
            model.session(Fixture.small()).use { session ->
                val flow = session.completion("a", Fixture.wild(5))
                repeat(2) { assertEquals(Fixture.expected("wild-5.txt"), flow.toList().joinToString("")) }
            }
        }
    }

    @Test
    fun whoStopsCollectingCancels() = runBlocking {
        Model.open(Fixture.DEMO).use { model ->
            model.session(SessionOptions().threads(1)).use { session ->
                val conversation = session.conversation()
                val pieces = conversation.answer("Tell me about yourself.").take(2).toList()
                val said = conversation.messages()[1].content
                assertTrue(said, said.startsWith(pieces.joinToString("")))
                assertEquals(Fixture.expected("answer-0.txt"), session.conversation().answer("Who are you?").toList().joinToString(""))
            }
        }
    }

    @Test
    fun aTimeoutEndsAPromptThatIsRead() = runBlocking {
        Model.open(Fixture.DEMO, ModelOptions().kernelSet("scalar")).use { model ->
            model.session(SessionOptions().threads(1).passTokens(1)).use { session ->
                val flow = session.completion("and so on ".repeat(300), GenerationOptions())
                assertNull(withTimeoutOrNull(50) { flow.first() })
                assertEquals(0, session.position())
            }
        }
    }

    @Test
    fun failuresComeOutOfTheCollection() = runBlocking {
        Model.open(Fixture.TINY).use { model ->
            model.session(Fixture.small()).use { session ->
                try {
                    session.completion("abcdefghijklmnopqrstuvwxyz").toList()
                    fail("it fitted")
                } catch (refused: RbeException) {
                    assertEquals(RbeException.Status.CONTEXT, refused.status())
                }
            }
        }
    }
}
