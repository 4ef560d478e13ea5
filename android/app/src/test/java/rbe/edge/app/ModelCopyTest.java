package rbe.edge.app;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import rbe.edge.Progress;

public class ModelCopyTest {
    private static final Progress SILENT = (done, total) -> {};
    @Rule public final TemporaryFolder folder = new TemporaryFolder();
    private final byte[] content = new byte[3_000_000];
    private File models;
    private File to;

    @Before
    public void fill() {
        new Random(1).nextBytes(content);
        models = new File(folder.getRoot(), "models"); // made by the copy
        to = new File(models, "a.rbe");
    }

    private InputStream stream() {
        return new ByteArrayInputStream(content);
    }

    private void assertFails(String said, long bytes, InputStream from) {
        try {
            ModelCopy.copy(from, bytes, to, SILENT, () -> false);
            fail("it was copied");
        } catch (IOException failure) {
            assertTrue(failure.getMessage(), failure.getMessage().contains(said));
        }
        assertEquals("nothing is left", 0, models.list().length);
    }

    @Test
    public void aCopyIsWholeAndToldAsItGoes() throws IOException {
        for (long bytes : new long[] {content.length, ModelCopy.UNKNOWN}) {
            List<Long> told = new ArrayList<>();
            assertTrue(ModelCopy.copy(stream(), bytes, to, (done, total) -> {
                assertEquals(Math.max(bytes, 0), total);
                told.add(done);
            }, () -> false));
            assertEquals(2, told.size());
            assertTrue(told.get(0) >= 1 << 20 && told.get(1) >= 2 << 20);
            assertArrayEquals(content, Files.readAllBytes(to.toPath()));
            assertEquals(1, models.list().length);
        }
    }

    @Test
    public void aStoppedCopyLeavesWhatWasThere() throws IOException {
        ModelCopy.copy(new ByteArrayInputStream(new byte[5]), 5, to, SILENT, () -> false);
        int[] asked = {0};
        assertFalse(ModelCopy.copy(stream(), content.length, to, SILENT, () -> ++asked[0] > 10));
        assertEquals(5, to.length());
        assertEquals(1, models.list().length);
    }

    @Test
    public void aModelThatDoesNotFitIsRefusedBeforeItIsRead() {
        InputStream unread = new InputStream() {
            @Override
            public int read() {
                throw new AssertionError("it was read");
            }
        };
        assertFails("the model takes 900000000.00 GB and ", 900_000_000L * 1_000_000_000, unread);
    }

    @Test
    public void aStreamThatEndsEarlyIsRefused() {
        assertFails("the file ended after 3.0 MB of 4.0 MB; open it again", 4_000_000, stream());
    }

    @Test
    public void aStreamThatFailsLeavesNothing() {
        assertFails("pulled out", 10, new InputStream() {
            @Override
            public int read() throws IOException {
                throw new IOException("pulled out");
            }
        });
    }

    @Test
    public void namesAreMadeSafe() {
        String[][] names = {
            {null, "model.rbe"}, {"", "model.rbe"}, {"smol.rbe", "smol.rbe"}, {"smol.bin", "smol.bin.rbe"},
            {"../../etc/passwd", "passwd.rbe"}, {"..", "model.rbe"}, {".rbe", "rbe.rbe"}, {"a\u0000b\nc:d.rbe", "a_b_c_d.rbe"},
            {"\ud83d\ude00.rbe", "\ud83d\ude00.rbe"}
        };
        for (String[] name : names) {
            assertEquals(name[1], ModelCopy.safeName(name[0]));
        }
        StringBuilder many = new StringBuilder();
        for (int i = 0; i < 100; i++) {
            many.append("\ud83d\ude00");
        }
        assertEquals(2 * 40 + 4, ModelCopy.safeName(many.toString()).length());
    }
}
