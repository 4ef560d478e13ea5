package rbe.edge;

/** What a model and its sessions take, in bytes unless said otherwise. */
public final class ModelMemory {
    public final long sessionsInUse;
    /** The most that sessions ever took at a time. */
    public final long sessionsPeak;
    /** Of closed sessions, kept for the next; {@link Model#trimMemory} gives it back. */
    public final long sessionsHeld;
    /** How often memory for a session was taken, and how often it had been held. */
    public final long sessionsTaken;

    public final long sessionsReused;
    public final long cacheLimit;
    public final long cacheUsed;
    /** Rows. */
    public final long cacheHits;

    public final long cacheMisses;
    public final long residentLimit;
    public final long residentPinned;

    ModelMemory(long[] numbers) {
        sessionsInUse = numbers[0];
        sessionsPeak = numbers[1];
        sessionsHeld = numbers[2];
        sessionsTaken = numbers[3];
        sessionsReused = numbers[4];
        cacheLimit = numbers[5];
        cacheUsed = numbers[6];
        cacheHits = numbers[7];
        cacheMisses = numbers[8];
        residentLimit = numbers[9];
        residentPinned = numbers[10];
    }
}
