package rbe.edge;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;

/** Models and texts that tests/android puts into the folder of the property rbe.data. */
final class Fixture {
    /** 272 tokens, of which 256 are bytes; random weights. */
    static final File TINY = file("tiny.rbe");

    /** The demo model: a tokenizer of 2048 tokens, and ChatML. */
    static final File DEMO = file("demo.rbe");

    /** A file with a table of modes. */
    static final File MODES = file("modes.rbe");

    private Fixture() {}

    static File file(String name) {
        return new File(System.getProperty("rbe.data"), name);
    }

    /** What the Python package gave. */
    static String expected(String name) throws IOException {
        return new String(Files.readAllBytes(file(name).toPath()), StandardCharsets.UTF_8);
    }

    static SessionOptions small() {
        return new SessionOptions().threads(1).contextTokens(16);
    }

    /** Draws bytes almost evenly. */
    static GenerationOptions wild(long seed) {
        return new GenerationOptions().temperature(50).seed(seed).maxTokens(0);
    }

    static void assertClosed(Runnable call) {
        try {
            call.run();
        } catch (IllegalStateException closed) {
            assertTrue(closed.getMessage(), closed.getMessage().endsWith("is closed"));
            return;
        }
        fail("a closed thing was used");
    }

    static RbeException assertRefused(RbeException.Status status, Runnable call) {
        try {
            call.run();
        } catch (RbeException refused) {
            assertEquals(refused.getMessage(), status, refused.status());
            assertTrue(refused.getMessage(), refused.getMessage().length() > 10 && !refused.getMessage().contains("\n"));
            return refused;
        }
        throw new AssertionError("nothing was refused");
    }
}
