package rbe.edge;

/** How a model is opened. What is not set has the library's default. */
public final class ModelOptions {
    String kernelSet;
    boolean skipChecksums;
    long maxResidentBytes;
    long cacheBytes;

    /** The name of a kernel set, such as "scalar"; by default the best that this processor has. */
    public ModelOptions kernelSet(String name) {
        kernelSet = name;
        return this;
    }

    /** Does not read the whole file to verify its checksums: a damaged file may go unnoticed. */
    public ModelOptions skipChecksums(boolean skip) {
        skipChecksums = skip;
        return this;
    }

    /** Bytes of the file in memory at a time, for each session that runs; the rest is read again for each token. 0: all of it. */
    public ModelOptions maxResidentBytes(long bytes) {
        maxResidentBytes = Check.notNegative(bytes, "maxResidentBytes");
        return this;
    }

    /** Bytes for weights that are kept once they were generated. 0: 16 MB. */
    public ModelOptions cacheBytes(long bytes) {
        cacheBytes = Check.notNegative(bytes, "cacheBytes");
        return this;
    }
}
