package rbe.edge;

/** How a text is drawn. By default the most likely token always, until the model ends the text or 512 tokens. */
public final class GenerationOptions {
    float temperature;
    int topK;
    float topP;
    float minP;
    float repeatPenalty;
    int repeatLast;
    long seed;
    int maxTokens = 512;
    String[] stops = {};
    Progress progress;

    /** 0: the most likely token always. */
    public GenerationOptions temperature(float value) {
        temperature = value;
        return this;
    }

    /** Only the k most likely tokens; 0: all. */
    public GenerationOptions topK(int k) {
        topK = Check.notNegative(k, "topK");
        return this;
    }

    /** Only the most likely tokens with this probability together; 0 or 1: all. */
    public GenerationOptions topP(float p) {
        topP = p;
        return this;
    }

    /** Only tokens with this part of the probability of the most likely one; 0: all. */
    public GenerationOptions minP(float p) {
        minP = p;
        return this;
    }

    /** Makes tokens less likely that stand among the latest `last` (0: 64); 0 or 1: off. */
    public GenerationOptions repeatPenalty(float penalty, int last) {
        repeatPenalty = penalty;
        repeatLast = Check.notNegative(last, "last");
        return this;
    }

    /** The same seed, model and prompt give the same text, on every machine. */
    public GenerationOptions seed(long number) {
        seed = number;
        return this;
    }

    /** 0: as many as fit into the context. */
    public GenerationOptions maxTokens(int tokens) {
        maxTokens = Check.notNegative(tokens, "maxTokens");
        return this;
    }

    /** The text ends before the first of these. */
    public GenerationOptions stops(String... texts) {
        stops = texts.clone();
        return this;
    }

    /** Told how far the prompt is. */
    public GenerationOptions progress(Progress listener) {
        progress = listener;
        return this;
    }

    byte[][] stopBytes() {
        byte[][] bytes = new byte[stops.length][];
        for (int i = 0; i < stops.length; i++) {
            bytes[i] = Model.utf8(stops[i]);
        }
        return bytes;
    }
}
