package rbe.edge;

/** Why a text ended. */
public enum Finish {
    /** It goes on. */
    NONE,
    /** The model ended it. */
    END,
    /** A stop sequence. */
    STOP,
    /** maxTokens. */
    LENGTH,
    /** The context is full. */
    CONTEXT,
    /** {@link Generation#cancel}, or its close before the end. */
    CANCELLED,
    /** An exception said why. */
    FAILED
}
