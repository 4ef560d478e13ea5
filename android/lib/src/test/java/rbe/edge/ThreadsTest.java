package rbe.edge;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.Test;

public class ThreadsTest {
    private static final int THREADS = 8;

    private static void together(Callable<Void> each) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(THREADS);
        try {
            List<Future<Void>> all = new ArrayList<>();
            for (int i = 0; i < THREADS; i++) {
                all.add(threads.submit(each));
            }
            for (Future<Void> one : all) {
                one.get(60, TimeUnit.SECONDS);
            }
        } finally {
            threads.shutdownNow();
        }
    }

    @Test
    public void eightSessionsOfOneModelSayTheSame() throws Exception {
        try (Model model = Model.open(Fixture.TINY)) {
            together(() -> {
                for (int seed = 1; seed <= 20; seed++) {
                    try (Session session = model.session(Fixture.small())) {
                        String text = session.complete("a", Fixture.wild(seed)).rest();
                        assertEquals(Fixture.expected("wild-" + seed + ".txt"), text);
                    }
                    model.tokenize("abc", false);
                    model.memory();
                }
                return null;
            });
            assertEquals(0, model.memory().sessionsInUse);
        }
    }

    @Test
    public void eightThreadsMayAskOneGeneration() throws Exception {
        try (Model model = Model.open(Fixture.TINY); Session session = model.session(Fixture.small())) {
            Generation generation = session.complete("a", Fixture.wild(3));
            together(() -> {
                while (generation.next() != null) {}
                return null;
            });
            assertEquals(Fixture.expected("wild-3.txt"), generation.text());
        }
    }

    @Test
    public void aCancelEndsThePromptThatIsRead() throws Exception {
        try (Model model = Model.open(Fixture.DEMO);
                Session session = model.session(new SessionOptions().threads(1).passTokens(1))) {
            CountDownLatch begun = new CountDownLatch(1);
            StringBuilder prompt = new StringBuilder();
            for (int i = 0; i < 300; i++) {
                prompt.append("and so on ");
            }
            Generation generation = session.complete(
                    prompt.toString(), new GenerationOptions().progress((done, total) -> begun.countDown()));
            Thread other = new Thread(() -> {
                try {
                    begun.await();
                } catch (InterruptedException stopped) {
                    return;
                }
                generation.cancel();
            });
            other.start();
            assertEquals("", generation.rest());
            assertEquals(Finish.CANCELLED, generation.finish());
            assertEquals("the session is as before", 0, session.position());
            other.join();
        }
    }

    @Test
    public void aCancelEndsTheTextAndWhatWasSaidStays() throws Exception {
        try (Model model = Model.open(Fixture.DEMO); Session session = model.session(new SessionOptions().threads(1))) {
            Conversation conversation = session.conversation();
            Generation generation = conversation.ask("Tell me about yourself.");
            String first = generation.next();
            Thread other = new Thread(generation::cancel);
            other.start();
            other.join();
            String rest = generation.rest();
            assertEquals(Finish.CANCELLED, generation.finish());
            assertEquals(first + rest, conversation.messages().get(1).content);
        }
    }

    /** Cancels that come too late, for a text that has ended, do not end the next. */
    @Test
    public void lateCancelsDoNoHarm() throws Exception {
        AtomicBoolean done = new AtomicBoolean();
        try (Model model = Model.open(Fixture.TINY); Session session = model.session(Fixture.small())) {
            Generation[] latest = {session.complete("a", Fixture.wild(1))};
            latest[0].rest();
            Thread storm = new Thread(() -> {
                while (!done.get()) {
                    session.cancelCall();
                    Thread.yield();
                }
            });
            storm.start();
            try {
                for (int i = 0; i < 200; i++) {
                    int seed = i % 20 + 1;
                    assertEquals(Fixture.expected("wild-" + seed + ".txt"), session.complete("a", Fixture.wild(seed)).rest());
                }
            } finally {
                done.set(true);
                storm.join();
            }
        }
    }

    /** The model is closed while eight threads use it: each of them ends, cancelled or told that it is closed. */
    @Test
    public void aModelIsClosedUnderItsThreads() throws Exception {
        for (int round = 0; round < 20; round++) {
            Model model = Model.open(Fixture.TINY);
            CountDownLatch begun = new CountDownLatch(THREADS);
            Thread closer = new Thread(() -> {
                try {
                    begun.await();
                } catch (InterruptedException stopped) {
                    return;
                }
                model.close();
            });
            closer.start();
            together(() -> {
                boolean first = true;
                try {
                    for (int seed = 1; ; seed++) {
                        Session session = model.session(Fixture.small());
                        Generation generation = session.complete("a", Fixture.wild(seed));
                        generation.next();
                        if (first) {
                            begun.countDown();
                        }
                        first = false;
                        generation.rest();
                        session.close();
                    }
                } catch (IllegalStateException closed) {
                    assertTrue(closed.getMessage(), closed.getMessage().endsWith("is closed"));
                }
                return null;
            });
            closer.join();
            Fixture.assertClosed(model::info);
        }
    }
}
