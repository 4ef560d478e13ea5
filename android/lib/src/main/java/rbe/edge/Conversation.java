package rbe.edge;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Questions and answers over one session, by the model's chat template. What earlier turns left in the context is not computed again. Where
 * the history no longer fits, the oldest turns are forgotten. A model without a chat template continues the text so far.
 *
 * <p>Threads as of its session.
 */
public final class Conversation {
    private static final int ANSWER_ROOM = 256; // tokens kept for an answer, a quarter of the context at most

    private final Session session; // its monitor guards all that follows
    private final String style;
    private final List<Message> messages = new ArrayList<>();
    private int forgottenTurns;

    /** Throws RbeException where the template cannot be written, or takes no system message. */
    Conversation(Session session, String system, String style) {
        this.session = session;
        this.style = style;
        if (system != null) {
            messages.add(new Message(Message.Role.SYSTEM, system));
        }
        List<Message> first = new ArrayList<>(messages);
        first.add(new Message(Message.Role.USER, ""));
        session.model.chatTokens(style, first);
    }

    public Generation ask(String question) {
        return ask(question, new GenerationOptions());
    }

    /**
     * The answer to a question. Once it has ended, both are in the history; where it failed, or was cancelled before its first token, neither is.
     */
    public Generation ask(String question, GenerationOptions options) {
        Message asked = new Message(Message.Role.USER, question);
        return session.generate(() -> fittingTokens(asked), options, (answer, whole) -> {
            if (whole) {
                messages.add(asked);
                messages.add(new Message(Message.Role.ASSISTANT, answer));
            }
        });
    }

    /** The history as it stands now. */
    public List<Message> messages() {
        synchronized (session) {
            return new ArrayList<>(messages);
        }
    }

    /** How many of the oldest turns were forgotten, because the context was full. */
    public int forgottenTurns() {
        synchronized (session) {
            return forgottenTurns;
        }
    }

    /** Forgets all but the system message. */
    public void clear() {
        synchronized (session) {
            session.clear();
            messages.removeIf(message -> message.role != Message.Role.SYSTEM);
            forgottenTurns = 0;
        }
    }

    /** The question's tokens, behind as much of the history as fits. Called under the session's monitor. */
    private int[] fittingTokens(Message asked) {
        int context = session.contextTokens();
        int room = context - Math.min(ANSWER_ROOM, context / 4);
        int system = !messages.isEmpty() && messages.get(0).role == Message.Role.SYSTEM ? 1 : 0;
        List<Message> all = new ArrayList<>(messages);
        all.add(asked);
        int[] tokens = session.model.chatTokens(style, all);
        while (tokens.length > room && all.size() > system + 1) {
            all.subList(system, system + 2).clear(); // the oldest question and its answer
            tokens = session.model.chatTokens(style, all);
        }
        if (tokens.length > room) {
            throw new RbeException(RbeException.Status.CONTEXT, String.format(Locale.ROOT,
                    "the message takes %d tokens and the context has room for %d; shorten it, or give contextTokens",
                    tokens.length, room));
        }
        forgottenTurns += (messages.size() + 1 - all.size()) / 2;
        messages.subList(system, system + messages.size() + 1 - all.size()).clear();
        return tokens;
    }
}
