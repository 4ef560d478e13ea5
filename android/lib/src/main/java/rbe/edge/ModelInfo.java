package rbe.edge;

/** What a model tells about itself. */
public final class ModelInfo {
    /** The size of the file in bytes. */
    public final long fileBytes;
    /** Weights of the source model. */
    public final long parameters;
    public final int formatVersion;
    public final int layers;
    public final int width;
    /** Tokens in the vocabulary. */
    public final int vocabulary;
    /** The longest context that the model was made for, in tokens. */
    public final int contextTokens;
    /** Whether the file holds a tokenizer: without one there is no text. */
    public final boolean hasTokenizer;
    /** Whether the file holds a chat template; without one, conversations are written as "User:" and "Assistant:". */
    public final boolean hasChatTemplate;
    /** The kernels in use, such as "neon_dotprod". */
    public final String kernelSet;

    ModelInfo(long[] numbers, String kernelSet) {
        fileBytes = numbers[0];
        parameters = numbers[1];
        formatVersion = (int) numbers[2];
        layers = (int) numbers[3];
        width = (int) numbers[4];
        vocabulary = (int) numbers[5];
        contextTokens = (int) numbers[6];
        hasTokenizer = numbers[7] != 0;
        hasChatTemplate = numbers[8] == 0;
        this.kernelSet = kernelSet;
    }
}
