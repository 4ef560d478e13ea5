package rbe.edge.app;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.After;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import rbe.edge.Finish;
import rbe.edge.Generation;
import rbe.edge.GenerationOptions;
import rbe.edge.ModelInfo;
import rbe.edge.Power;
import rbe.edge.PowerMode;

public class ChatTest implements Chat.Listener {
    private static final File DEMO = new File(System.getProperty("rbe.data"), "demo.rbe");
    @Rule public final TemporaryFolder folder = new TemporaryFolder();
    private final BlockingQueue<String> ends = new LinkedBlockingQueue<>();
    private final StringBuffer said = new StringBuffer();
    private final StringBuffer modes = new StringBuffer();
    private Power power;
    private String powerOfAnswer;
    private Chat chat;
    private Runnable onPiece = () -> {};
    private Finish finish;
    private long copied;
    private int pieces;

    @Before
    public void begin() {
        power = Power.open(folder.getRoot()); // no files: what is fed counts
        chat = new Chat(this, power);
    }

    @After
    public void close() {
        chat.close();
    }

    private String end() throws InterruptedException {
        String end = ends.poll(60, TimeUnit.SECONDS);
        return end == null ? "nothing within a minute" : end;
    }

    private void openDemo() throws Exception {
        chat.open(() -> new FileInputStream(DEMO), DEMO.length(), new File(folder.getRoot(), "demo.rbe"));
        assertEquals("ready demo.rbe", end());
    }

    private static String expected(String name) throws IOException {
        return new String(Files.readAllBytes(new File(DEMO.getParentFile(), name).toPath()), StandardCharsets.UTF_8);
    }

    @Test
    public void aModelIsCopiedOpenedAndAnswers() throws Exception {
        assertTrue(new File(folder.getRoot(), "older.rbe").createNewFile());
        openDemo();
        assertEquals("copied in megabytes", 1 << 20, copied >> 20 << 20);
        assertEquals("the latest model stays", 1, Chat.models(folder.getRoot()).length);
        for (int i = 0; i < 2; i++) {
            chat.ask(i == 0 ? "Who are you?" : "What can you do?", new GenerationOptions());
            assertEquals("answered", end());
            assertEquals(expected("answer-" + i + ".txt"), said.toString());
            assertEquals(Finish.END, finish);
            said.setLength(0);
        }
        chat.trim();
        chat.open(Chat.models(folder.getRoot())[0]);
        assertEquals("ready demo.rbe", end());
    }

    @Test
    public void aStopEndsTheAnswerAndTheNextOneIsWhole() throws Exception {
        openDemo();
        onPiece = chat::stop;
        chat.ask("Tell me about yourself.", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals(Finish.CANCELLED, finish);
        onPiece = () -> {};
        chat.ask("What can you do?", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals(Finish.END, finish);
    }

    @Test
    public void anAnswerTellsItsModeAndMayBeOverridden() throws Exception {
        power.feedBattery(18, 100, 0, 3700);
        power.feed(Power.Feed.TEMPERATURE_C, 71);
        power.feed(Power.Feed.ENERGY_J, 1);
        openDemo();
        onPiece = () -> power.feed(Power.Feed.ENERGY_J, 1 + 0.5 * ++pieces);
        chat.ask("Who are you?", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals("saver: 18 %, 71 C\n", modes.toString());
        assertTrue(powerOfAnswer, powerOfAnswer.matches("saver: 18 %, 71 C, 0\\.[0-9]+ J/token"));
        assertEquals("its file has no table of modes", expected("answer-0.txt"), said.toString());
        onPiece = () -> {};
        modes.setLength(0);
        chat.override(PowerMode.EMERGENCY);
        chat.ask("What can you do?", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals("emergency: override, 18 %, 71 C\n", modes.toString());
        assertEquals("nothing was measured meanwhile", "emergency: override, 18 %, 71 C", powerOfAnswer);
    }

    @Test
    public void aStopEndsTheCopy() throws Exception {
        InputStream endless = new InputStream() {
            @Override
            public int read() {
                chat.stop();
                return 0;
            }
        };
        chat.open(() -> endless, ModelCopy.UNKNOWN, new File(folder.getRoot(), "endless.rbe"));
        assertEquals("stopped", end());
        assertEquals(0, folder.getRoot().list().length);
    }

    @Test
    public void whatIsNoModelIsRefusedAndTheOneThatIsOpenStays() throws Exception {
        chat.ask("Hello", new GenerationOptions());
        assertEquals("failed there is no model; open one", end());
        openDemo();
        byte[] junk = new byte[1000];
        chat.open(() -> new ByteArrayInputStream(junk), junk.length, new File(folder.getRoot(), "junk.rbe"));
        String end = end();
        assertTrue(end, end.startsWith("failed ") && end.contains("junk.rbe"));
        assertFalse(new File(folder.getRoot(), "junk.rbe").exists());
        chat.open(() -> {
            throw new SecurityException("revoked");
        }, 1, new File(folder.getRoot(), "gone.rbe"));
        assertEquals("failed the file may no longer be read; open it again", end());
        chat.ask("Who are you?", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals(expected("answer-0.txt"), said.toString());
    }

    @Test
    public void closingInTheMiddleOfAnAnswerEndsIt() throws Exception {
        openDemo();
        onPiece = chat::close;
        chat.ask("Tell me about yourself.", new GenerationOptions());
        assertEquals("answered", end());
        assertEquals(Finish.CANCELLED, finish);
    }

    @Override
    public void copying(long done, long total) {
        copied = done;
    }

    @Override
    public void opening(String name) {}

    @Override
    public void ready(String name, ModelInfo info) {
        ends.add("ready " + name);
    }

    @Override
    public void reading(long done, long total) {
        assertTrue(done <= total);
    }

    @Override
    public void said(String piece) {
        said.append(piece);
        onPiece.run();
    }

    @Override
    public void power(String line) {
        modes.append(line).append('\n');
    }

    @Override
    public void answered(Generation answer, String line) {
        finish = answer.finish();
        powerOfAnswer = line;
        ends.add("answered");
    }

    @Override
    public void stopped() {
        ends.add("stopped");
    }

    @Override
    public void failed(String message) {
        ends.add("failed " + message);
    }
}
