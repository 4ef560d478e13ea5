package rbe.edge;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** Sensors without any file, as apps on Android know few: what is fed decides. */
public class PowerTest {
    private static final int LEAST = Integer.MIN_VALUE; // what BatteryManager gives where it does not know

    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private Power power() {
        return Power.open(folder.getRoot());
    }

    private static String text(Session session) {
        return session.complete("abc", Fixture.wild(7)).rest();
    }

    private File file(String name, String content) throws IOException {
        File file = new File(folder.getRoot(), name);
        file.getParentFile().mkdirs();
        Files.write(file.toPath(), content.getBytes(StandardCharsets.UTF_8));
        return file;
    }

    /** What a governor says once a token has been computed. */
    private static GovernorInfo decided(Model model, Power power, GovernorOptions options) {
        try (Session session = model.session(Fixture.small()); Governor governor = power.governor(model, options)) {
            session.govern(governor);
            text(session);
            return governor.info();
        }
    }

    @Test
    public void whatIsFedDecides() {
        try (Model model = Model.open(Fixture.TINY); Power power = power()) {
            assertEquals("performance: battery unknown", decided(model, power, new GovernorOptions()).line());
            power.feedBattery(18, 100, 0, 3700);
            assertEquals("saver: 18 %", decided(model, power, new GovernorOptions()).line());
            power.feed(Power.Feed.TEMPERATURE_C, 71);
            assertEquals("saver: 18 %, 71 C", decided(model, power, new GovernorOptions()).line());
            power.feedBattery(8, 200, 0, 3700);
            assertEquals("emergency: 4 %, 71 C", decided(model, power, new GovernorOptions()).line());
            power.feedBattery(8, 200, 2, 3700);
            assertEquals(PowerMode.PERFORMANCE, decided(model, power, new GovernorOptions()).mode);
            power.feedThermalStatus(3);
            GovernorInfo hot = decided(model, power, new GovernorOptions());
            assertEquals(hot.line(), PowerMode.BALANCED, hot.mode);
            assertTrue(hot.reason, hot.reason.contains("throttled"));
            assertEquals(PowerMode.EMERGENCY, decided(model, power, new GovernorOptions().mode(PowerMode.EMERGENCY)).mode);
        }
    }

    @Test
    public void whatIsNotKnownIsLeftOut() {
        try (Model model = Model.open(Fixture.TINY); Power power = power()) {
            power.feedBattery(-1, -1, -1, 0);
            power.feedBattery(LEAST, LEAST, LEAST, LEAST);
            power.feedBattery(101, 100, -1, Integer.MAX_VALUE);
            power.feedThermalStatus(-1);
            power.feedThermalStatus(7);
            assertEquals("battery unknown", decided(model, power, new GovernorOptions()).reason);
            Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> power.feed(Power.Feed.BATTERY_LEVEL, 1.5));
            Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> power.feed(Power.Feed.TEMPERATURE_C, Double.NaN));
            Fixture.assertRefused(
                    RbeException.Status.ARGUMENT,
                    () -> power.feed(Power.Feed.CHARGING, 1, System.nanoTime() + 3_600_000_000_000L));
            power.feed(Power.Feed.CHARGING, 0, System.nanoTime());
        }
    }

    @Test
    public void anOverrideActsAtTheNextTokenAndTheTextStays() {
        try (Model model = Model.open(Fixture.DEMO);
                Power power = power();
                Session session = model.session(new SessionOptions().threads(2));
                Governor governor = power.governor(model, new GovernorOptions())) {
            String expected = session.complete("Once", new GenerationOptions().maxTokens(12)).rest();
            power.feedBattery(80, 100, 0, 3700);
            session.govern(governor);
            assertEquals("", governor.info().line());
            Generation answer = session.complete("Once", new GenerationOptions().maxTokens(12));
            StringBuilder all = new StringBuilder(answer.next());
            assertEquals("performance: 80 %", governor.info().line());
            assertEquals(2, session.threads());
            governor.override(PowerMode.EMERGENCY);
            all.append(answer.next());
            assertEquals("emergency: override, 80 %", governor.info().line());
            assertEquals(1, governor.info().switches);
            assertEquals(1, session.threads());
            governor.override(null);
            String rest = answer.rest();
            assertEquals("this file has no table of modes", expected, all + rest);
            session.govern(null);
            text(session);
            assertEquals("no longer", answer.tokens(), governor.info().tokens);
        }
    }

    @Test
    public void modesOfTheFileAreRead() throws Exception {
        String[] texts = new String[PowerMode.values().length];
        try (Model model = Model.open(Fixture.MODES)) {
            for (PowerMode mode : PowerMode.values()) {
                try (Session session = model.session(new SessionOptions().threads(1));
                        Governor governor = model.governor(new GovernorOptions().mode(mode))) {
                    session.govern(governor);
                    texts[mode.ordinal()] = session.complete("The engine", new GenerationOptions().maxTokens(12)).rest();
                    assertEquals(Fixture.expected("mode-" + mode.label() + ".txt"), texts[mode.ordinal()]);
                    assertTrue(governor.info().line().startsWith(mode.label() + ": override"));
                }
            }
        }
        assertNotEquals(texts[0], texts[3]);
    }

    @Test
    public void policiesAreFiles() throws Exception {
        File policy = file("policy", "saver_above = 2\nmode = auto\n");
        File wrong = file("wrong", "# mine\nhot = 300\n");
        try (Model model = Model.open(Fixture.TINY); Power power = power()) {
            power.feedBattery(4, 100, 0, 3700);
            assertEquals(PowerMode.EMERGENCY, decided(model, power, new GovernorOptions()).mode);
            assertEquals(PowerMode.SAVER, decided(model, power, new GovernorOptions().policy(policy)).mode);
            RbeException refused = Fixture.assertRefused(
                    RbeException.Status.FORMAT, () -> power.governor(model, new GovernorOptions().policy(wrong)));
            assertTrue(refused.getMessage(), refused.getMessage().contains("line 2: hot is 300"));
            File none = new File(folder.getRoot(), "none");
            Fixture.assertRefused(
                    RbeException.Status.IO, () -> power.governor(model, new GovernorOptions().policy(none)));
        }
    }

    @Test
    public void whatNothingMeasuresIsRefused() {
        try (Model model = Model.open(Fixture.TINY); Power power = power()) {
            RbeException refused = Fixture.assertRefused(
                    RbeException.Status.UNSUPPORTED, () -> power.governor(model, new GovernorOptions().watts(5)));
            assertTrue(refused.getMessage(), refused.getMessage().startsWith("no sensor measures power here"));
            Fixture.assertRefused(
                    RbeException.Status.UNSUPPORTED, () -> power.governor(model, new GovernorOptions().celsius(60)));
            Fixture.assertRefused(
                    RbeException.Status.ARGUMENT, () -> power.governor(model, new GovernorOptions().celsius(10)));
            Fixture.assertRefused(
                    RbeException.Status.ARGUMENT, () -> power.governor(model, new GovernorOptions().tokensPerSecond(-1)));
        }
    }

    @Test
    public void joulesAreThoseThatAreFed() {
        try (Model model = Model.open(Fixture.TINY); Power power = power()) {
            power.feed(Power.Feed.ENERGY_J, 1000);
            try (Session session = model.session(Fixture.small());
                    Governor governor = power.governor(model, new GovernorOptions())) {
                session.govern(governor);
                GovernorInfo before = governor.info();
                assertTrue("nothing was spent", Double.isNaN(before.joulesPerToken(before)));
                Generation answer = session.complete("abc", Fixture.wild(1));
                answer.next();
                power.feed(Power.Feed.ENERGY_J, 1003);
                answer.rest();
                power.feed(Power.Feed.ENERGY_J, 1006);
                GovernorInfo after = governor.info();
                assertTrue(after.tokens > 0);
                assertEquals(6.0 / after.tokens, after.joulesPerToken(before), 1e-9);
                assertEquals("each joule once", Double.NaN, governor.info().joulesPerToken(after), 0);
            }
        }
    }

    @Test
    public void waitsHoldThePace() {
        try (Model model = Model.open(Fixture.TINY);
                Session session = model.session(new SessionOptions().threads(2).contextTokens(16));
                Governor governor = model.governor(new GovernorOptions().tokensPerSecond(50))) {
            session.govern(governor);
            text(session);
            GovernorInfo info = governor.info();
            assertEquals(1, info.threads);
            assertTrue(info.waitedSeconds > 0 && Double.isNaN(info.joules));
        }
    }

    @Test
    public void closingInAnyOrderIsSafe() {
        for (int i = 0; i < 200; i++) {
            Model model = Model.open(Fixture.TINY);
            Power power = power();
            Session session = model.session(Fixture.small());
            Governor governor = power.governor(model, new GovernorOptions());
            session.govern(governor);
            text(session);
            AutoCloseable[] all = {model, power, session, governor};
            int order = i % 24;
            for (int left = 4; left > 0; order /= left, left--) {
                int next = order % left;
                try {
                    all[next].close();
                    all[next].close();
                } catch (Exception failed) {
                    throw new AssertionError(failed);
                }
                all[next] = all[left - 1];
            }
            Fixture.assertClosed(() -> governor.info());
            Fixture.assertClosed(() -> governor.override(PowerMode.SAVER));
            Fixture.assertClosed(() -> power.feedThermalStatus(0));
        }
    }

    @Test
    public void aGovernorIsOfOneSessionAndOneModel() {
        try (Model model = Model.open(Fixture.TINY);
                Model other = Model.open(Fixture.TINY);
                Session one = model.session(Fixture.small());
                Session two = model.session(Fixture.small());
                Session stranger = other.session(Fixture.small());
                Governor governor = model.governor(new GovernorOptions())) {
            Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> stranger.govern(governor));
            one.govern(governor);
            one.govern(governor);
            try {
                two.govern(governor);
                fail("it follows two");
            } catch (IllegalStateException refused) {
                assertTrue(refused.getMessage(), refused.getMessage().contains("has a session already"));
            }
            one.govern(null);
            two.govern(governor);
            two.close();
            one.govern(governor);
            assertFalse(text(one).isEmpty());
        }
    }

    @Test
    public void threadsFeedOverrideAndCloseWhileItAnswers() throws Exception {
        AtomicReference<Throwable> failure = new AtomicReference<>();
        try (Model model = Model.open(Fixture.TINY); Power power = power(); Session session = model.session(Fixture.small())) {
            for (int i = 0; i < 20; i++) {
                Governor governor = power.governor(model, new GovernorOptions());
                session.govern(governor);
                Thread other = new Thread(() -> {
                    try {
                        for (int k = 0; k < 40; k++) {
                            power.feedBattery(k, 100, 0, 3700);
                            governor.override(k % 5 == 4 ? null : PowerMode.values()[k % 5]);
                            governor.info();
                        }
                        governor.close();
                    } catch (Throwable thrown) {
                        failure.set(thrown);
                    }
                });
                other.start();
                while (other.isAlive()) {
                    assertFalse(text(session).isEmpty());
                }
                other.join();
            }
        }
        assertEquals(null, failure.get());
    }
}
