package rbe.edge;

import java.io.File;

/** When which mode, and what is held between tokens. What is not set is the library's default, or not held. */
public final class GovernorOptions {
    File policy;
    PowerMode mode;
    double watts;
    double celsius;
    double tokensPerSecond;

    /** A file of lines `key = value` (docs/power.md). RbeException FORMAT, with the line, where it is wrong; null: the defaults. */
    public GovernorOptions policy(File file) {
        policy = file;
        return this;
    }

    /** Always this mode; null: the policy decides. */
    public GovernorOptions mode(PowerMode always) {
        mode = always;
        return this;
    }

    /** The most power on average, by waiting between tokens; RbeException UNSUPPORTED where nothing measures. 0: any. */
    public GovernorOptions watts(double most) {
        watts = most;
        return this;
    }

    /** The hottest that the processor may be, 30 to 120, likewise. 0: any. */
    public GovernorOptions celsius(double most) {
        celsius = most;
        return this;
    }

    /** So many are enough: the fewest threads that give them, and no faster. 0: as fast as it can. */
    public GovernorOptions tokensPerSecond(double enough) {
        tokensPerSecond = enough;
        return this;
    }
}
