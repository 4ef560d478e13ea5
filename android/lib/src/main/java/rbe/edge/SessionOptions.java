package rbe.edge;

/** How a session is made. What is not set has the library's default. */
public final class SessionOptions {
    /** How keys and values are kept, in the order of rbe_kv_type. */
    public enum KvType {
        F16,
        F32,
        /** Half the memory of F16. */
        Q8,
        /** Keys in 8 bits, values in 4. */
        Q8Q4,
        /** Q8 where the model's heads have at most 256 dimensions, else F16. */
        AUTO
    }

    int contextTokens;
    int threads;
    int passTokens;
    KvType kvType = KvType.F16;
    int sinkTokens;

    /** Tokens that the context holds. 0: those of the model, at most 4096. */
    public SessionOptions contextTokens(int tokens) {
        contextTokens = Check.notNegative(tokens, "contextTokens");
        return this;
    }

    /** 1 to 64; 0: one for each fast core. */
    public SessionOptions threads(int number) {
        threads = Check.notNegative(number, "threads");
        return this;
    }

    /** Tokens of a prompt that are read at a time, 1 to 512; a cancel waits for them. 0: 64 or 128. */
    public SessionOptions passTokens(int tokens) {
        passTokens = Check.notNegative(tokens, "passTokens");
        return this;
    }

    public SessionOptions kvType(KvType type) {
        kvType = type;
        return this;
    }

    /** 0: a full context ends the text. Else it slides: the first sinkTokens and the latest stay. */
    public SessionOptions sinkTokens(int tokens) {
        sinkTokens = Check.notNegative(tokens, "sinkTokens");
        return this;
    }
}
