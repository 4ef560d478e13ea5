package rbe.edge;

/**
 * A context of tokens, and the memory in which they are computed. One thread computes at a time, and others wait for it; any thread may
 * call {@link #close} and {@link Generation#cancel}, which stop it.
 *
 * <p>Methods throw IllegalStateException once the session or its model is closed.
 */
public final class Session implements AutoCloseable {
    final Model model;
    private final Object cancelling = new Object(); // a cancel meets no handle that is being freed
    private long handle; // 0: closed; written under both monitors
    private volatile boolean closing;
    private Generation running; // not at its end; guarded by this
    private Governor governor; // guarded by this

    Session(Model model, long handle) {
        this.model = model;
        this.handle = handle;
    }

    /** Continues a text, from the start of the context on. What the context shares with it already is not computed again. */
    public Generation complete(String prompt, GenerationOptions options) {
        int[] tokens = model.tokenize(prompt, true);
        if (tokens.length == 0) {
            throw new IllegalArgumentException("there is no text to continue; give some");
        }
        return generate(() -> tokens, options, null);
    }

    /** A conversation by the model's own template. */
    public Conversation conversation() {
        return new Conversation(this, null, null);
    }

    /**
     * A conversation.
     *
     * @param system what the model is told first, or null
     * @param style "chatml", "llama2", "llama3", "zephyr", "gemma" or "plain", whatever the file says; null: the model's own template
     */
    public Conversation conversation(String system, String style) {
        return new Conversation(this, system, style);
    }

    /** Tokens in the context now. */
    public synchronized int position() {
        return (int) Native.sessionInfo(open())[3];
    }

    /** Tokens that fit into the context. */
    public synchronized int contextTokens() {
        return (int) Native.sessionInfo(open())[2];
    }

    public synchronized int threads() {
        return (int) Native.sessionInfo(open())[4];
    }

    /** All memory of the session, in bytes. */
    public synchronized long memoryBytes() {
        return Native.sessionInfo(open())[0];
    }

    /** From the next token on it follows the governor, which is one of its model; null: none, and it stays as it is. */
    public synchronized void govern(Governor by) {
        long session = open();
        if (by == null) {
            Native.governSession(session, 0);
        } else {
            by.take(this, session);
        }
        if (governor != null && governor != by) {
            governor.forget(this);
        }
        governor = by;
    }

    /** Where it follows this governor, no longer. Waits for the call that runs. */
    synchronized void release(Governor by) {
        if (governor == by) {
            if (handle != 0) {
                Native.governSession(handle, 0);
            }
            by.forget(this);
            governor = null;
        }
    }

    /** Forgets the context. */
    public synchronized void clear() {
        open();
        refuseWhileRunning();
        Native.rewindSession(handle, 0);
    }

    /** Cancels the call that runs, waits for it, and gives the memory back to the model. Again: nothing. */
    @Override
    public void close() {
        closing = true;
        cancelCall();
        synchronized (this) {
            if (handle == 0) {
                return;
            }
            if (running != null) {
                running.free();
            }
            long freed;
            synchronized (cancelling) {
                freed = handle;
                handle = 0;
            }
            Native.freeSession(freed);
            if (governor != null) {
                governor.forget(this);
                governor = null;
            }
        }
        model.forget(this);
    }

    synchronized Generation generate(Generation.Prompt prompt, GenerationOptions options, Generation.Ended ended) {
        open();
        refuseWhileRunning();
        running = new Generation(this, prompt, options, ended);
        return running;
    }

    /** The handle, for a caller that holds the monitor. */
    long open() {
        if (closing || handle == 0) {
            throw new IllegalStateException("the session is closed");
        }
        return handle;
    }

    void ended(Generation generation) {
        running = running == generation ? null : running;
    }

    boolean closing() {
        return closing;
    }

    /** Makes the call that runs, or else the next one, fail with CANCELLED: who did not ask for that calls again. */
    void cancelCall() {
        synchronized (cancelling) {
            if (handle != 0) {
                Native.cancelSession(handle);
            }
        }
    }

    private void refuseWhileRunning() {
        if (running != null) {
            throw new IllegalStateException("the session still generates; close that generation first");
        }
    }
}
