package rbe.edge;

/**
 * Acts on sensors before every token of the one session that follows it ({@link Session#govern}): what is read of the model, threads,
 * waits. Any thread.
 *
 * <p>Methods throw IllegalStateException once it is closed.
 */
public final class Governor implements AutoCloseable {
    private final Power power; // null: no sensors
    private Session follower; // guarded by this, as are the others
    private long handle; // 0: freed
    private boolean closing;

    Governor(Power power, long handle) {
        this.power = power;
        this.handle = handle;
    }

    /** Always this mode, from the next token on; null: the policy decides. */
    public synchronized void override(PowerMode mode) {
        Native.overrideGovernor(opened(), PowerMode.number(mode));
    }

    /** What it decided last, and what has been spent until now. It reads the energy: for an answer, not for each token. */
    public synchronized GovernorInfo info() {
        double[] numbers = new double[8];
        return new GovernorInfo(Model.text(Native.governorInfo(opened(), numbers)), numbers);
    }

    /** Lets go of its session, which stays as it is, and waits for a call that runs there. Again: nothing. */
    @Override
    public void close() {
        Session left;
        synchronized (this) {
            closing = true; // no session comes any more
            left = follower;
        }
        if (left != null) {
            left.release(this);
        }
        synchronized (this) {
            if (handle != 0) {
                Native.freeGovernor(handle);
                handle = 0;
            }
        }
        if (power != null) {
            power.forget(this);
        }
    }

    /** For a caller that holds the session's monitor. */
    synchronized void take(Session session, long sessionHandle) {
        long governor = opened();
        if (follower != null && follower != session) {
            throw new IllegalStateException("the governor has a session already; make another governor");
        }
        Native.governSession(sessionHandle, governor);
        follower = session;
    }

    synchronized void forget(Session session) {
        follower = follower == session ? null : follower;
    }

    private long opened() {
        if (closing || handle == 0) {
            throw new IllegalStateException("the governor is closed");
        }
        return handle;
    }
}
