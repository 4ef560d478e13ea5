package rbe.edge.app;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import rbe.edge.Conversation;
import rbe.edge.Generation;
import rbe.edge.GenerationOptions;
import rbe.edge.Governor;
import rbe.edge.GovernorInfo;
import rbe.edge.GovernorOptions;
import rbe.edge.Model;
import rbe.edge.ModelInfo;
import rbe.edge.Power;
import rbe.edge.PowerMode;
import rbe.edge.RbeException;
import rbe.edge.Session;

/** One model and one conversation, on a thread of its own. It knows nothing of Android; what it calls back comes on that thread. */
final class Chat implements AutoCloseable {
    /** What happens. All that is begun ends with one of ready, answered, stopped and failed. */
    interface Listener {
        void copying(long done, long total);

        void opening(String name);

        void ready(String name, ModelInfo info);

        void reading(long done, long total);

        void said(String piece);

        /** The power mode and why, "saver: 18 %, 71 C": before the first piece of an answer, and where it changes. */
        void power(String line);

        /** power: that line, and the joules of a token where they are measured. */
        void answered(Generation answer, String power);

        void stopped();

        /** The message is one line for a person. */
        void failed(String message);
    }

    /** Opens what is to be copied, on the chat's thread. */
    interface Source {
        InputStream open() throws IOException;
    }

    private final ExecutorService thread = Executors.newSingleThreadExecutor();
    private static final long LOOK_NANOS = 1_000_000_000L; // at the mode, while there is an answer

    private final Listener listener;
    private final Power power;
    private volatile PowerMode chosen; // null: the policy decides
    private volatile Generation answer; // that is being drawn
    private volatile boolean stopping;
    private volatile boolean closed;
    private Model model; // these three: the chat's thread alone
    private Conversation conversation;
    private Governor governor;

    /** power: whom the modes follow; the chat closes it. */
    Chat(Listener listener, Power power) {
        this.listener = listener;
        this.power = power;
    }

    /** Always this mode, from the next token on; null: the policy decides. Any thread. */
    void override(PowerMode mode) {
        chosen = mode;
    }

    /** Copies a model to a file, opens it, and deletes the other models of that folder: the latest one stays. */
    void open(Source source, long bytes, File file) {
        begin(() -> {
            try (InputStream from = source.open()) {
                // A model that is open keeps its content where the new file takes its name.
                if (!ModelCopy.copy(from, bytes, file, listener::copying, () -> stopping)) {
                    listener.stopped();
                    return;
                }
            }
            try {
                openFile(file);
            } catch (RbeException refused) {
                if (refused.status() == RbeException.Status.FORMAT || refused.status() == RbeException.Status.UNSUPPORTED) {
                    file.delete(); // it will never open
                }
                throw refused;
            }
            for (File other : models(file.getParentFile())) {
                if (!other.equals(file)) {
                    other.delete();
                }
            }
            listener.ready(file.getName(), model.info());
        });
    }

    /** Opens a model that was copied before. */
    void open(File file) {
        begin(() -> {
            openFile(file);
            listener.ready(file.getName(), model.info());
        });
    }

    /** The models in a folder. */
    static File[] models(File folder) {
        File[] files = folder.listFiles((where, name) -> name.endsWith(".rbe"));
        return files == null ? new File[0] : files;
    }

    private void openFile(File file) {
        listener.opening(file.getName());
        Model opened = Model.open(file);
        closeModel(); // not before: what cannot be opened costs nobody the conversation
        try {
            Session session = opened.session();
            governor = power.governor(opened, new GovernorOptions().mode(chosen));
            session.govern(governor);
            conversation = session.conversation();
            model = opened;
        } finally {
            if (model == null) {
                opened.close();
            }
        }
    }

    /** Asks, and tells the answer piece by piece. */
    void ask(String question, GenerationOptions options) {
        begin(() -> {
            if (conversation == null) {
                listener.failed("there is no model; open one");
                return;
            }
            try (Generation drawn = conversation.ask(question, options.progress(listener::reading))) {
                answer = drawn;
                if (stopping) { // a stop that came before there was an answer
                    drawn.cancel();
                }
                governor.override(chosen);
                GovernorInfo before = governor.info();
                String line = "";
                long looked = System.nanoTime() - LOOK_NANOS;
                for (String piece = drawn.next(); piece != null; piece = drawn.next()) {
                    governor.override(chosen);
                    if (System.nanoTime() - looked >= LOOK_NANOS) {
                        looked = System.nanoTime();
                        line = tellChange(line);
                    }
                    listener.said(piece);
                }
                listener.answered(drawn, powerOf(governor.info(), before));
            } finally {
                answer = null;
            }
        });
    }

    private String tellChange(String before) {
        String line = governor.info().line();
        if (!line.equals(before)) {
            listener.power(line);
        }
        return line;
    }

    /** "saver: 18 %, 71 C, 3.12 J/token". */
    static String powerOf(GovernorInfo now, GovernorInfo before) {
        double joules = now.joulesPerToken(before);
        return Double.isNaN(joules) ? now.line() : String.format(Locale.ROOT, "%s, %.3g J/token", now.line(), joules);
    }

    /** Ends what is going on: a copy, the reading of a prompt, an answer. Any thread. */
    void stop() {
        stopping = true;
        Generation drawn = answer;
        if (drawn != null) {
            drawn.cancel();
        }
    }

    /** Gives back memory that is kept for later. */
    void trim() {
        if (!closed) {
            thread.execute(() -> {
                if (model != null) {
                    model.trimMemory();
                }
            });
        }
    }

    /** Stops what is going on and closes the model behind it; does not wait. Again: nothing. */
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        stop();
        thread.execute(() -> {
            closeModel();
            power.close();
        });
        thread.shutdown();
    }

    private interface Work {
        void run() throws IOException;
    }

    private void begin(Work work) {
        stopping = false;
        thread.execute(() -> {
            try {
                work.run();
            } catch (IOException | RbeException | IllegalStateException failure) {
                listener.failed(String.valueOf(failure.getMessage()));
            } catch (SecurityException failure) {
                listener.failed("the file may no longer be read; open it again");
            }
        });
    }

    private void closeModel() {
        if (model != null) {
            model.close();
            governor.close();
        }
        model = null;
        conversation = null;
    }
}
