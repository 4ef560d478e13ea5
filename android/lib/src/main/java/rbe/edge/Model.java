package rbe.edge;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.LongFunction;

/**
 * An open .rbe file. Any number of threads may use it. The file is mapped: it must not change until the model is closed.
 *
 * <p>Every method throws IllegalStateException once the model is closed, and {@link RbeException} where the library refuses.
 */
public final class Model implements AutoCloseable {
    private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    private final Set<Session> sessions = new LinkedHashSet<>(); // open ones; guarded by itself
    private long handle; // 0: closed; read under the read lock

    private Model(long handle) {
        this.handle = handle;
    }

    /** Opens a file and checks it, but for the checksums of its tensors, which are compared beside what follows: see {@link #verify}. */
    public static Model open(File file) {
        return open(file, new ModelOptions());
    }

    public static Model open(File file, ModelOptions options) {
        byte[] kernels = options.kernelSet == null ? null : utf8(options.kernelSet);
        return new Model(
                Native.openModel(
                        utf8(file.getPath()), kernels, options.skipChecksums, options.maxResidentBytes, options.cacheBytes));
    }

    /** The version of the library. */
    public static String libraryVersion() {
        return text(Native.version());
    }

    public ModelInfo info() {
        return use(model -> new ModelInfo(Native.modelInfo(model), text(Native.kernelSet(model))));
    }

    public ModelMemory memory() {
        return use(model -> new ModelMemory(Native.modelMemory(model)));
    }

    /** Gives the memory of closed sessions back to the system, as an app does in onTrimMemory. */
    public void trimMemory() {
        use(
                model -> {
                    Native.trimMemory(model);
                    return null;
                });
    }

    /**
     * Waits until the checksums of all tensors are compared, which reads all of the file: seconds for a large one. Not for the main thread.
     * Throws where one is wrong. From when that is known, calls that would give tokens throw the same, and no answer ends before.
     */
    public void verify() {
        use(
                model -> {
                    Native.verifyModel(model);
                    return null;
                });
    }

    /**
     * The tokens of a text, with those that the model wants at its start.
     *
     * @param special whether control tokens such as &lt;|im_start|&gt; written out in the text become tokens
     */
    public int[] tokenize(String text, boolean special) {
        int flags = Native.SPECIAL_PREFIX | (special ? Native.PARSE_SPECIAL : 0);
        return use(model -> Native.tokenize(model, utf8(text), flags));
    }

    /** The text of tokens. Bytes that are no UTF-8 become U+FFFD, as does a character whose end is missing. */
    public String detokenize(int... tokens) {
        return use(model -> text(Native.detokenize(model, tokens)));
    }

    /** A session with the default options. */
    public Session session() {
        return session(new SessionOptions());
    }

    /** Takes all the memory that the session needs. */
    public Session session(SessionOptions options) {
        return use(
                model -> {
                    Session session = new Session(this, Native.createSession(
                            model, options.contextTokens, options.threads, options.passTokens, options.kvType.ordinal(),
                            options.sinkTokens));
                    synchronized (sessions) {
                        sessions.add(session);
                    }
                    return session;
                });
    }

    /** A governor without sensors: always in the mode of the options or of their policy. */
    public Governor governor(GovernorOptions options) {
        return new Governor(null, governorHandle(0, options));
    }

    long governorHandle(long power, GovernorOptions options) {
        byte[] policy = options.policy == null ? null : utf8(options.policy.getPath());
        return use(model -> Native.createGovernor(
                model, power, policy, PowerMode.number(options.mode), options.watts, options.celsius, options.tokensPerSecond));
    }

    /** The tokens of a conversation, as the model's template writes it, up to where the assistant's next words begin. */
    int[] chatTokens(String style, List<Message> messages) {
        byte[][] roles = new byte[messages.size()][];
        byte[][] contents = new byte[messages.size()][];
        for (int i = 0; i < messages.size(); i++) {
            roles[i] = utf8(messages.get(i).role.word);
            contents[i] = utf8(messages.get(i).content);
        }
        return use(model -> Native.chatTokens(model, style == null ? null : utf8(style), roles, contents));
    }

    void forget(Session session) {
        synchronized (sessions) {
            sessions.remove(session);
        }
    }

    /** Closes its sessions too: a call that runs in one of them is cancelled and waited for. Again: nothing. */
    @Override
    public void close() {
        long closing;
        lock.writeLock().lock();
        try {
            closing = handle;
            handle = 0;
        } finally {
            lock.writeLock().unlock();
        }
        if (closing == 0) {
            return;
        }
        List<Session> open;
        synchronized (sessions) {
            open = new ArrayList<>(sessions);
        }
        for (Session session : open) {
            session.close();
        }
        Native.closeModel(closing);
    }

    private <T> T use(LongFunction<T> call) {
        lock.readLock().lock();
        try {
            if (handle == 0) {
                throw new IllegalStateException("the model is closed");
            }
            return call.apply(handle);
        } finally {
            lock.readLock().unlock();
        }
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }
}
