package rbe.edge;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.management.ObjectName;
import org.junit.Test;

public class LifeTest {
    private static final int CYCLES = 1000;
    private static final long MOST_GROWTH = 3 << 20; // bytes; a leaked session of the tiny model is 20 KB, of 1000 cycles 20 MB

    @Test
    public void aThousandCyclesLeaveNothing() throws Exception {
        for (int i = 0; i < CYCLES / 2; i++) {
            cycle(i);
        }
        System.gc();
        long allocations = Allocations.live();
        long references = globalReferences();
        long memory = residentBytes();
        for (int i = 0; i < CYCLES; i++) {
            cycle(i);
        }
        System.gc();
        assertEquals("allocations of the bridge", allocations, Allocations.live());
        assertTrue("global references", globalReferences() <= references);
        long growth = residentBytes() - memory;
        assertTrue("memory grew by " + growth + " bytes in " + CYCLES + " cycles", growth < MOST_GROWTH);
        System.out.println("memory grew by " + growth + " bytes in " + CYCLES + " cycles");
    }

    /** Open, generate, cancel, close, in another way each time. */
    private static void cycle(int i) {
        try (Model model = Model.open(Fixture.TINY); Power power = Power.open()) {
            Session session = model.session(Fixture.small());
            Governor governor = power.governor(model, new GovernorOptions()); // which the power closes
            if (i % 2 == 0) {
                session.govern(governor);
            }
            Generation generation = session.complete("abc", Fixture.wild(i));
            if (i % 4 != 0) {
                generation.next();
                generation.cancel();
                while (generation.next() != null) {}
                assertTrue(generation.finish() != Finish.NONE && generation.finish() != Finish.FAILED);
            }
            if (i % 5 == 0) {
                Fixture.assertRefused(RbeException.Status.IO, () -> Model.open(Fixture.file("none.rbe")));
            }
            if (i % 3 == 0) {
                generation.close();
                session.close();
                assertEquals(0, model.memory().sessionsInUse);
            } // else the model closes what is open
            ModelMemory counts = model.memory();
            assertEquals(1, counts.sessionsTaken);
            assertTrue(i % 3 == 0 || counts.sessionsInUse > 0);
        }
    }

    private static long residentBytes() throws Exception {
        String status = new String(Files.readAllBytes(Paths.get("/proc/self/status")), StandardCharsets.UTF_8);
        Matcher matcher = Pattern.compile("VmRSS:\\s+(\\d+) kB").matcher(status);
        assertTrue(matcher.find());
        return 1024 * Long.parseLong(matcher.group(1));
    }

    /** As the JVM counts them for a thread dump. */
    private static long globalReferences() throws Exception {
        Object dump = ManagementFactory.getPlatformMBeanServer().invoke(
                new ObjectName("com.sun.management:type=DiagnosticCommand"), "threadPrint", new Object[] {new String[0]},
                new String[] {String[].class.getName()});
        Matcher matcher = Pattern.compile("JNI global refs: (\\d+)").matcher((String) dump);
        assertTrue(matcher.find());
        return Long.parseLong(matcher.group(1));
    }

    @Test
    public void nothingIsUsedBehindItsClose() {
        Model model = Model.open(Fixture.TINY);
        Session session = model.session(Fixture.small());
        Conversation conversation = session.conversation();
        Generation generation = session.complete("a", Fixture.wild(1));
        assertNotNull(generation.next());
        session.close();
        session.close();
        assertNull("an ended text gives nothing", generation.next());
        assertEquals(Finish.CANCELLED, generation.finish());
        generation.cancel();
        generation.close();
        Fixture.assertClosed(session::position);
        Fixture.assertClosed(session::contextTokens);
        Fixture.assertClosed(session::memoryBytes);
        Fixture.assertClosed(session::threads);
        Fixture.assertClosed(session::clear);
        Fixture.assertClosed(() -> session.complete("a", Fixture.wild(1)));
        Fixture.assertClosed(() -> conversation.ask("a"));
        model.close();
        model.close();
        Fixture.assertClosed(model::info);
        Fixture.assertClosed(model::memory);
        Fixture.assertClosed(model::trimMemory);
        Fixture.assertClosed(model::verify);
        Fixture.assertClosed(model::session);
        Fixture.assertClosed(session::conversation);
        Fixture.assertClosed(() -> model.tokenize("a", false));
        Fixture.assertClosed(() -> model.detokenize(1));
    }

    @Test
    public void closedSessionsAreHeldAndTrimmed() {
        try (Model model = Model.open(Fixture.TINY)) {
            model.session(Fixture.small()).close();
            assertTrue(model.memory().sessionsHeld > 0);
            model.session(Fixture.small()).close();
            assertEquals(1, model.memory().sessionsReused);
            model.trimMemory();
            assertEquals(0, model.memory().sessionsHeld);
        }
    }

    @Test
    public void aSecondGenerationWaitsForTheFirstToEnd() {
        try (Model model = Model.open(Fixture.TINY); Session session = model.session(Fixture.small())) {
            Generation first = session.complete("a", Fixture.wild(1));
            first.next();
            try {
                session.complete("a", Fixture.wild(1));
                fail("two at a time");
            } catch (IllegalStateException refused) {
                assertTrue(refused.getMessage(), refused.getMessage().contains("still generates"));
            }
            first.close();
            assertEquals(Finish.CANCELLED, first.finish());
            assertTrue(session.complete("a", Fixture.wild(1)).rest().length() > 1);
        }
    }

    @Test
    public void badOptionsAreRefusedAndTheSessionGoesOn() {
        try (Model model = Model.open(Fixture.TINY); Session session = model.session(Fixture.small())) {
            Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> model.session(new SessionOptions().threads(65)));
            Generation bad = session.complete("a", new GenerationOptions().temperature(-1));
            Fixture.assertRefused(RbeException.Status.ARGUMENT, bad::next);
            assertEquals(Finish.FAILED, bad.finish());
            Fixture.assertRefused(
                    RbeException.Status.CONTEXT, () -> session.complete("abcdefghijklmnopqrstuvwxyz", Fixture.wild(1)).next());
            Fixture.assertRefused(
                    RbeException.Status.ARGUMENT, () -> session.complete("a", Fixture.wild(1).stops("a\u0000")).next());
            try {
                new SessionOptions().contextTokens(-1);
                fail("a negative size");
            } catch (IllegalArgumentException refused) {
                assertEquals("contextTokens is -1; give 0 or more", refused.getMessage());
            }
            assertTrue(session.complete("a", Fixture.wild(1)).rest().length() > 1);
        }
    }

    @Test
    public void progressIsToldAndMayThrow() {
        try (Model model = Model.open(Fixture.TINY); Session session = model.session(Fixture.small().passTokens(2))) {
            AtomicInteger calls = new AtomicInteger();
            Generation good = session.complete("abcdefgh", Fixture.wild(1).maxTokens(1).progress((done, total) -> {
                assertTrue(done >= 0 && done <= total && total >= 8);
                calls.incrementAndGet();
            }));
            good.rest();
            assertTrue(calls.get() > 2);
            assertTrue(good.promptTokens() >= 8);
            Generation thrown = session.complete("zyxwvu", Fixture.wild(1).progress((done, total) -> {
                throw new UnsupportedOperationException("from the listener");
            }));
            try {
                thrown.next();
                fail("it came through");
            } catch (UnsupportedOperationException expected) {
                assertEquals("from the listener", expected.getMessage());
            }
            assertTrue(session.complete("a", Fixture.wild(1)).rest().length() > 1);
        }
    }

    @Test
    public void everyRefusedAllocationIsAnExceptionAndLeaksNothing() {
        long before = Allocations.live();
        int refused = 0;
        for (long n = 1; n < 200; n++) {
            long made = Allocations.made();
            Allocations.refuse(n);
            try {
                allCalls();
            } catch (RbeException expected) {
                assertEquals(RbeException.Status.MEMORY, expected.status());
                refused++;
            } finally {
                Allocations.refuse(0);
            }
            assertEquals("behind allocation " + n, before, Allocations.live());
            if (Allocations.made() - made < n) {
                assertTrue("allocations refused: " + refused, refused > 15 && refused == n - 1);
                return;
            }
        }
        fail("there is no end of allocations");
    }

    private static void allCalls() {
        try (Model model = Model.open(Fixture.TINY, new ModelOptions().kernelSet("scalar"));
                Session session = model.session(new SessionOptions().threads(1));
                Power power = Power.open();
                Governor governor = power.governor(model, new GovernorOptions().policy(Fixture.file("policy")))) {
            session.govern(governor);
            model.detokenize(model.tokenize("abc", false));
            session.complete("abc", Fixture.wild(1).maxTokens(2).stops("xyzzy", "\ud83d\ude00")).rest();
            session.conversation("s", "plain").ask("b", Fixture.wild(1).maxTokens(1)).rest();
            governor.info();
        }
    }
}
