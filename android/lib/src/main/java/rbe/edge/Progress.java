package rbe.edge;

/** How far a prompt is. What it throws stops the prompt, and comes out of the call that reads it. */
public interface Progress {
    /** Called on the thread that reads the prompt; tokens, {@code 0 <= done <= total}. */
    void onProgress(long done, long total);
}
