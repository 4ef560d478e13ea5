package rbe.edge;

/**
 * A text that is drawn piece by piece, as it is asked for. The prompt is read by the first {@link #next}. One thread asks; any thread may
 * cancel.
 */
public final class Generation implements AutoCloseable {
    /** Where the tokens of the prompt come from, on the thread that asks first. */
    interface Prompt {
        int[] tokens();
    }

    /** Told once, when the text has ended; `whole` is false where it failed, or where the prompt was not read to its end. */
    interface Ended {
        void ended(String text, boolean whole);
    }

    private static final int NO_TOKEN = -1;
    private static final int FINISH_CALLER = 5;

    private final Session session; // its monitor guards all that follows
    private final Prompt prompt;
    private final GenerationOptions options;
    private final byte[][] stops;
    private final Ended ended;
    private final StringBuilder text = new StringBuilder();
    private final int[] state = new int[2]; // token and finish of the latest step
    private long handle; // 0 before the prompt is read, and behind the end
    private volatile boolean cancelled;
    private volatile Finish finish = Finish.NONE;
    private boolean over;
    private boolean drawn; // a token, so that the next step is a pass
    private int promptTokens;
    private int tokens;
    private int passes;
    private long promptNanos;
    private long passNanos;

    Generation(Session session, Prompt prompt, GenerationOptions options, Ended ended) {
        this.session = session;
        this.prompt = prompt;
        this.options = options;
        this.stops = options.stopBytes();
        this.ended = ended;
    }

    /** The next piece of the text, which is never empty, or null at its end. */
    public String next() {
        synchronized (session) {
            if (over) {
                return null;
            }
            session.open();
            boolean good = false;
            try {
                String piece = piece();
                good = true;
                return piece;
            } finally {
                if (!good) {
                    finish = Finish.FAILED;
                    end(false);
                }
            }
        }
    }

    /** The rest of the text. */
    public String rest() {
        StringBuilder rest = new StringBuilder();
        for (String piece = next(); piece != null; piece = next()) {
            rest.append(piece);
        }
        return rest.toString();
    }

    /** Ends the text: a next() that runs on another thread, or the one that follows, gives what was held back, then null. Any thread. */
    public void cancel() {
        cancelled = true;
        if (finish == Finish.NONE) {
            session.cancelCall();
        }
    }

    /** Ends the text here, as a cancel, where it has not ended yet. Again: nothing. */
    @Override
    public void close() {
        cancel();
        synchronized (session) {
            if (!over && !session.closing()) {
                next();
            }
        }
    }

    /** NONE until the text has ended. */
    public Finish finish() {
        return finish;
    }

    /** The text so far. */
    public String text() {
        synchronized (session) {
            return text.toString();
        }
    }

    /** Tokens of the text so far. */
    public int tokens() {
        synchronized (session) {
            return tokens;
        }
    }

    /** Tokens of the prompt that had to be computed; 0 before they were. */
    public int promptTokens() {
        synchronized (session) {
            return promptTokens;
        }
    }

    /** How long the prompt took. */
    public double promptSeconds() {
        synchronized (session) {
            return 1e-9 * promptNanos;
        }
    }

    /** Passes through the model in a second, a token each, without the prompt; 0 before the second token. */
    public double tokensPerSecond() {
        synchronized (session) {
            return passNanos == 0 ? 0 : 1e9 * passes / passNanos;
        }
    }

    private String piece() {
        if (handle == 0 && !begin()) {
            return null;
        }
        while (finish == Finish.NONE) {
            String piece = Model.text(step());
            text.append(piece);
            if (finish != Finish.NONE) {
                end(true);
            }
            if (!piece.isEmpty()) {
                return piece;
            }
        }
        return null;
    }

    /** Reads the prompt; false where it was cancelled. */
    private boolean begin() {
        int[] all = prompt.tokens();
        long start = System.nanoTime();
        while (promptTokens == 0) {
            if (isCancelled()) {
                end(false);
                return false;
            }
            try {
                promptTokens = Native.prompt(session.open(), all, options.progress);
            } catch (RbeException failure) {
                rethrowOthers(failure);
            }
        }
        promptNanos = System.nanoTime() - start;
        handle = Native.createGeneration(
                session.open(), options.temperature, options.topK, options.topP, options.minP, options.repeatPenalty,
                options.repeatLast, options.seed, options.maxTokens, stops);
        return true;
    }

    /** One pass, or the end; the bytes of text that have become certain. */
    private byte[] step() {
        while (!isCancelled()) {
            try {
                long start = System.nanoTime();
                byte[] bytes = Native.step(handle, state);
                count(System.nanoTime() - start);
                return bytes;
            } catch (RbeException failure) {
                rethrowOthers(failure);
            }
        }
        byte[] rest = Native.end(handle, state);
        finish = Finish.CANCELLED;
        return rest;
    }

    /** The first step draws from what the prompt left; each of the others passes a token through the model. */
    private void count(long nanos) {
        finish = state[1] == FINISH_CALLER ? Finish.CANCELLED : Finish.values()[state[1]];
        tokens += state[0] != NO_TOKEN && finish != Finish.END ? 1 : 0;
        if (drawn) {
            passes++;
            passNanos += nanos;
        }
        drawn = true;
    }

    private boolean isCancelled() {
        return cancelled || session.closing();
    }

    /** A cancel may come behind the end of the text that it was meant for, and then meets this one, which goes on. */
    private static void rethrowOthers(RbeException failure) {
        if (failure.status() != RbeException.Status.CANCELLED) {
            throw failure;
        }
    }

    private void end(boolean whole) {
        if (!over) {
            free();
            if (ended != null) {
                ended.ended(text.toString(), whole);
            }
        }
    }

    /** For a caller that holds the session's monitor. */
    void free() {
        over = true;
        finish = finish == Finish.NONE ? Finish.CANCELLED : finish;
        if (handle != 0) {
            Native.freeGeneration(handle);
            handle = 0;
        }
        session.ended(this);
    }
}
