package rbe.edge;

import java.io.File;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * What sensors say of battery, heat and energy: the few files that Android lets an app read, and what the app feeds. Any thread.
 *
 * <p>What is fed counts for a minute, so feed every few seconds, and what changes at once. Methods throw IllegalStateException once it is
 * closed.
 */
public final class Power implements AutoCloseable {
    /** What may be fed, in the order of rbe_feed. */
    public enum Feed {
        /** 0 to 1. */
        BATTERY_LEVEL,
        /** 1 on mains or USB, else 0. */
        CHARGING,
        /** Out of the battery; negative into it. */
        CURRENT_A,
        VOLTAGE_V,
        /** Of PowerManager: 0 to 6. */
        THERMAL_STATUS,
        /** Of the processor, not of the battery. */
        TEMPERATURE_C,
        /** A sum that only grows. */
        ENERGY_J
    }

    private final Set<Governor> governors = new LinkedHashSet<>(); // open ones; guarded by this, as is the handle
    private long handle; // 0: closed

    private Power(long handle) {
        this.handle = handle;
    }

    /** The sensors of this machine, which takes a millisecond or a few, and a thread that reads those of watts. */
    public static Power open() {
        return open(new File(""));
    }

    /** The sensors whose files stand in a folder instead of at /: for tests. */
    public static Power open(File root) {
        return new Power(Native.openPower(Model.utf8(root.getPath())));
    }

    /** Tells what was measured now. RbeException with the status ARGUMENT where it is out of the range of its kind. */
    public void feed(Feed kind, double value) {
        feed(kind, value, 0);
    }

    /** The same, measured at a time of System.nanoTime(), which is not in the future; 0: now. */
    public synchronized void feed(Feed kind, double value, long nanoTime) {
        Native.feedPower(opened(), kind.ordinal(), value, nanoTime);
    }

    /**
     * Tells what the intent ACTION_BATTERY_CHANGED holds, in its units. What is out of its range is left out: phones that do not know give
     * -1, 0 or the least int.
     *
     * @param level EXTRA_LEVEL, of scale
     * @param scale EXTRA_SCALE
     * @param plugged EXTRA_PLUGGED: 0 on the battery
     * @param millivolts EXTRA_VOLTAGE
     */
    public void feedBattery(int level, int scale, int plugged, int millivolts) {
        if (scale > 0 && level >= 0 && level <= scale) {
            feed(Feed.BATTERY_LEVEL, (double) level / scale);
        }
        if (plugged >= 0) {
            feed(Feed.CHARGING, plugged > 0 ? 1 : 0);
        }
        if (millivolts >= 1000 && millivolts <= 100_000) {
            feed(Feed.VOLTAGE_V, 1e-3 * millivolts);
        }
    }

    /** Tells PowerManager.getCurrentThermalStatus(), from API level 29 on. What is none of its values is left out. */
    public void feedThermalStatus(int status) {
        if (status >= 0 && status <= 6) {
            feed(Feed.THERMAL_STATUS, status);
        }
    }

    /** What acts on these sensors in sessions of a model. RbeException where the options cannot be held: UNSUPPORTED without a sensor. */
    public synchronized Governor governor(Model model, GovernorOptions options) {
        Governor governor = new Governor(this, model.governorHandle(opened(), options));
        governors.add(governor);
        return governor;
    }

    /** Closes its governors too, which waits for calls that run in their sessions. Again: nothing. */
    @Override
    public void close() {
        List<Governor> open;
        long closed;
        synchronized (this) {
            closed = handle;
            handle = 0; // no governor comes any more
            open = new ArrayList<>(governors);
        }
        for (Governor governor : open) {
            governor.close();
        }
        if (closed != 0) {
            Native.closePower(closed);
        }
    }

    synchronized void forget(Governor governor) {
        governors.remove(governor);
    }

    private long opened() {
        if (handle == 0) {
            throw new IllegalStateException("this power is closed");
        }
        return handle;
    }
}
