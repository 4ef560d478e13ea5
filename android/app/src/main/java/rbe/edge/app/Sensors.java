package rbe.edge.app;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.Handler;
import android.os.Looper;
import android.os.PowerManager;
import rbe.edge.Power;

/** Feeds what Android knows of battery and heat, every few seconds, on the main thread. */
final class Sensors implements Runnable {
    private static final long EVERY_MS = 5000; // what is fed counts for a minute

    private final Handler handler = new Handler(Looper.getMainLooper());
    private final Context context;
    private final Power power;

    Sensors(Context context, Power power) {
        this.context = context.getApplicationContext();
        this.power = power;
    }

    void start() {
        run();
    }

    /** Before the power is closed. */
    void stop() {
        handler.removeCallbacks(this);
    }

    @Override
    public void run() {
        // The latest battery intent; nobody is registered for further ones.
        Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        if (battery != null && battery.getBooleanExtra(BatteryManager.EXTRA_PRESENT, true)) {
            power.feedBattery(
                    battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1), battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1),
                    battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, -1), battery.getIntExtra(BatteryManager.EXTRA_VOLTAGE, -1));
        }
        PowerManager heat = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        if (Build.VERSION.SDK_INT >= 29 && heat != null) {
            power.feedThermalStatus(heat.getCurrentThermalStatus());
        }
        handler.postDelayed(this, EVERY_MS);
    }
}
