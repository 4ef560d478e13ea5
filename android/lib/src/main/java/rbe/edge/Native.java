package rbe.edge;

/**
 * What the JNI bridge gives: rbe.h, chat.h, power.h and governor.h, with handles as numbers. The classes beside this one look after the order of calls, threads
 * and closed handles; nothing here does.
 *
 * <p>Texts are UTF-8 bytes. Every method throws {@link RbeException} with the library's message where a call fails.
 */
final class Native {
    static {
        System.loadLibrary("rbe_jni");
    }

    /** Flags of {@link #tokenize}. */
    static final int SPECIAL_PREFIX = 1;

    static final int PARSE_SPECIAL = 2;

    private Native() {}

    static native byte[] version();

    static native long openModel(byte[] path, byte[] kernelSet, boolean skipChecksums, long maxResidentBytes, long cacheBytes);

    static native void closeModel(long model);

    static native long[] modelInfo(long model);

    static native byte[] kernelSet(long model);

    static native long[] modelMemory(long model);

    static native void trimMemory(long model);

    static native void verifyModel(long model);

    static native int[] tokenize(long model, byte[] text, int flags);

    static native byte[] detokenize(long model, int[] tokens);

    static native int[] chatTokens(long model, byte[] style, byte[][] roles, byte[][] contents);

    static native long createSession(long model, int contextTokens, int threads, int passTokens, int kvType, int sinkTokens);

    static native void freeSession(long session);

    static native long[] sessionInfo(long session);

    static native void cancelSession(long session);

    static native void rewindSession(long session, int tokens);

    static native int prompt(long session, int[] tokens, Progress progress);

    static native long createGeneration(
            long session,
            float temperature,
            int topK,
            float topP,
            float minP,
            float repeatPenalty,
            int repeatLast,
            long seed,
            int maxTokens,
            byte[][] stops);

    static native void freeGeneration(long generation);

    static native byte[] step(long generation, int[] state);

    static native byte[] end(long generation, int[] state);

    static native long openPower(byte[] root);

    static native void closePower(long power);

    static native void feedPower(long power, int kind, double value, long nanoTime);

    static native long createGovernor(
            long model, long power, byte[] policy, int override, double watts, double celsius, double tokensPerSecond);

    static native void freeGovernor(long governor);

    static native void governSession(long session, long governor);

    static native void overrideGovernor(long governor, int override);

    static native byte[] governorInfo(long governor, double[] numbers);
}
