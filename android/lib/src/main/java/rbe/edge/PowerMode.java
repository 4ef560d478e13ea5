package rbe.edge;

import java.util.Locale;

/** From the most power to the least, in the order of RBE_MODE_*. */
public enum PowerMode {
    PERFORMANCE,
    BALANCED,
    SAVER,
    EMERGENCY;

    /** "saver". */
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }

    /** 0: none; 1 + mode. */
    static int number(PowerMode mode) {
        return mode == null ? 0 : 1 + mode.ordinal();
    }
}
