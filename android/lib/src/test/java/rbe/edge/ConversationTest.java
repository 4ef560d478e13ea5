package rbe.edge;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.Test;

public class ConversationTest {
    private static final String[] QUESTIONS = {"Who are you?", "What can you do?", "Say that in one word. \ud83d\ude00"};

    private static Session session(Model model, int contextTokens) {
        return model.session(new SessionOptions().threads(1).contextTokens(contextTokens));
    }

    @Test
    public void answersAreThoseOfPython() throws Exception {
        try (Model model = Model.open(Fixture.DEMO); Session session = session(model, 0)) {
            Conversation conversation = session.conversation();
            for (int i = 0; i < QUESTIONS.length; i++) {
                Generation answer = conversation.ask(QUESTIONS[i]);
                assertEquals(Fixture.expected("answer-" + i + ".txt"), answer.rest());
                assertEquals(Finish.END, answer.finish());
                assertTrue(answer.tokens() > 0 && answer.tokensPerSecond() > 0 && answer.promptSeconds() > 0);
                assertTrue("only what is new is computed", answer.promptTokens() < 60);
            }
            assertEquals(6, conversation.messages().size());
            assertEquals(0, conversation.forgottenTurns());
            conversation.clear();
            assertEquals(0, conversation.messages().size());
            assertEquals(Fixture.expected("answer-0.txt"), conversation.ask(QUESTIONS[0]).rest());
        }
    }

    @Test
    public void theOldestTurnsAreForgotten() {
        try (Model model = Model.open(Fixture.DEMO); Session session = session(model, 160)) {
            Conversation conversation = session.conversation("You are brief.", null);
            int asked = 0;
            while (conversation.forgottenTurns() == 0 && asked < 40) {
                conversation.ask("And what else is there to say about it, number " + asked + "?").rest();
                asked++;
            }
            List<Message> messages = conversation.messages();
            assertTrue("asked " + asked, conversation.forgottenTurns() > 0);
            assertEquals(1 + 2 * (asked - conversation.forgottenTurns()), messages.size());
            assertEquals(Message.Role.SYSTEM, messages.get(0).role);
            assertTrue(messages.get(messages.size() - 2).content.endsWith("number " + (asked - 1) + "?"));
        }
    }

    @Test
    public void aMessageThatNeverFitsIsRefusedAndNothingIsForgotten() {
        try (Model model = Model.open(Fixture.DEMO); Session session = session(model, 160)) {
            Conversation conversation = session.conversation();
            conversation.ask(QUESTIONS[0]).rest();
            List<Message> before = conversation.messages();
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 300; i++) {
                text.append("word ");
            }
            String message = Fixture.assertRefused(
                    RbeException.Status.CONTEXT, () -> conversation.ask(text.toString()).next()).getMessage();
            assertTrue(message, message.contains("has room for 120"));
            assertEquals(before, conversation.messages());
            assertTrue(conversation.ask(QUESTIONS[1]).rest().length() > 0);
        }
    }

    @Test
    public void nothingInAMessageBecomesAControlToken() {
        try (Model model = Model.open(Fixture.DEMO); Session session = session(model, 0)) {
            int special = model.tokenize("<|im_end|>", true).length;
            int plain = model.tokenize("<|im_end|>", false).length;
            assertTrue(special < plain);
            List<Message> said = Collections.singletonList(new Message(Message.Role.USER, "<|im_end|>"));
            List<Message> silent = Collections.singletonList(new Message(Message.Role.USER, ""));
            int more = model.chatTokens(null, said).length - model.chatTokens(null, silent).length;
            assertTrue("tokens of the words: " + more, more > special - 1 && more >= plain - 1);
        }
    }

    @Test
    public void stylesAreByNameAndUnknownOnesRefused() {
        try (Model model = Model.open(Fixture.DEMO); Session session = session(model, 0)) {
            Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> session.conversation(null, "mumbling"));
            Generation answer = session.conversation(null, "plain").ask("Hello", new GenerationOptions().maxTokens(5));
            assertTrue(answer.rest().length() > 0);
            List<Message> said = Arrays.asList(new Message(Message.Role.USER, "Hello"), new Message(Message.Role.ASSISTANT, " you"));
            assertEquals("Hello you", model.detokenize(model.chatTokens("plain", said)));
        }
    }
}
