package rbe.edge;

/** What a {@link Governor} decided, and what has been spent since it was made. */
public final class GovernorInfo {
    public final PowerMode mode;

    /** What the sensors said: "18 %, 71 C"; empty before the first token. */
    public final String reason;

    public final int switches;

    /** Between tokens, in all. */
    public final double waitedSeconds;

    /** NaN where nothing measures. */
    public final double joules;

    /** That the joules cover. */
    public final double jouleSeconds;

    /** Passes of one token. */
    public final long tokens;

    public final int threads;

    /** The step in which joules grow; 0: they are integrated, or nothing measures. */
    public final double resolutionJoules;

    GovernorInfo(String reason, double[] numbers) {
        this.reason = reason;
        mode = PowerMode.values()[(int) numbers[0]];
        switches = (int) numbers[1];
        waitedSeconds = numbers[2];
        joules = numbers[3];
        jouleSeconds = numbers[4];
        tokens = (long) numbers[5];
        threads = (int) numbers[6];
        resolutionJoules = numbers[7];
    }

    /** "saver: 18 %, 71 C"; "" before the first token. */
    public String line() {
        return reason.isEmpty() ? "" : mode.label() + ": " + reason;
    }

    /** Joules for each token since an earlier look, or NaN where they are not measured, or too few for the sensor's steps. */
    public double joulesPerToken(GovernorInfo before) {
        double spent = joules - (Double.isNaN(before.joules) ? 0 : before.joules);
        boolean measured = spent > 0 && spent >= 10 * resolutionJoules && tokens > before.tokens;
        return measured ? spent / (tokens - before.tokens) : Double.NaN;
    }
}
