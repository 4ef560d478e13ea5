package rbe.edge;

import java.nio.charset.StandardCharsets;

/** A call of the library failed. The message is one line for a person, that of rbe_last_error. */
public final class RbeException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** What kind of failure, in the order of rbe_status. */
    public enum Status {
        OK,
        /** An argument is out of its range. */
        ARGUMENT,
        /** There is not enough memory. */
        MEMORY,
        /** The operating system refused a file operation. */
        IO,
        /** The file is truncated, damaged or of another kind. */
        FORMAT,
        /** Well formed, but not something this build can do. */
        UNSUPPORTED,
        /** The tokens do not fit into the session's context. */
        CONTEXT,
        /** Stopped by a cancel. */
        CANCELLED,
        /** A buffer is too small. */
        CAPACITY
    }

    private final Status status;

    RbeException(Status status, String message) {
        super(message);
        this.status = status;
    }

    /** The bridge's constructor: the message is UTF-8. */
    RbeException(int status, byte[] message) {
        this(Status.values()[status], new String(message, StandardCharsets.UTF_8));
    }

    public Status status() {
        return status;
    }
}
