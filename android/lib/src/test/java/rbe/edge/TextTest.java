package rbe.edge;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.junit.Test;

public class TextTest {
    private static final String[] TEXTS = {
        "", "plain", "\u00e4\u00f6\u00fc \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d", "\ud83d\ude00 \ud83d\udc69\u200d\ud83d\udcbb \ud83c\udde9\ud83c\uddea",
        "a\u0000b", "\ud83d\ude00\ud83d\ude00\u0000\ud83d\ude00", "\uffff\ufffd\u007f"
    };

    @Test
    public void textsComeBack() {
        for (File file : new File[] {Fixture.TINY, Fixture.DEMO}) {
            try (Model model = Model.open(file)) {
                int prefix = model.tokenize("", false).length;
                for (String text : TEXTS) {
                    int[] tokens = model.tokenize(text, false);
                    assertEquals(text, model.detokenize(Arrays.copyOfRange(tokens, prefix, tokens.length)));
                }
            }
        }
    }

    @Test
    public void halfAnEmojiIsReplacedAndTheNextTokensAreNot() {
        try (Model model = Model.open(Fixture.TINY)) {
            int prefix = model.tokenize("", false).length;
            int[] tokens = model.tokenize("\ud83d\ude00", false);
            assertTrue("a byte is a token", tokens.length - prefix > 1);
            int[] half = Arrays.copyOfRange(tokens, prefix, tokens.length - 1);
            assertEquals("\ufffd", model.detokenize(half));
            int[] both = Arrays.copyOf(half, half.length + tokens.length - prefix);
            System.arraycopy(tokens, prefix, both, half.length, tokens.length - prefix);
            assertEquals("\ufffd\ud83d\ude00", model.detokenize(both));
        }
    }

    @Test
    public void aLoneSurrogateIsNoCharacterAndBecomesAQuestionMark() {
        try (Model model = Model.open(Fixture.TINY)) {
            assertArrayEquals(model.tokenize("a?b", false), model.tokenize("a\ud83db", false));
        }
    }

    @Test
    public void piecesAreWholeCharactersAndTogetherWhatPythonSays() throws Exception {
        int replaced = 0;
        int beyondAscii = 0;
        for (int seed = 1; seed <= 20; seed++) {
            String expected = Fixture.expected("wild-" + seed + ".txt");
            try (Model model = Model.open(Fixture.TINY);
                    Session session = model.session(Fixture.small());
                    Generation generation = session.complete("a", Fixture.wild(seed))) {
                StringBuilder whole = new StringBuilder();
                for (String piece = generation.next(); piece != null; piece = generation.next()) {
                    assertFalse(piece.isEmpty());
                    assertEquals(piece, new String(piece.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8));
                    whole.append(piece);
                }
                assertEquals(expected, whole.toString());
                assertEquals(expected, generation.text());
                assertNull(generation.next());
            }
            replaced += expected.contains("\ufffd") ? 1 : 0;
            beyondAscii += expected.chars().anyMatch(c -> c > 127 && c != 0xfffd) ? 1 : 0;
        }
        assertTrue("bytes that are no UTF-8 were drawn: " + replaced, replaced >= 10);
        assertTrue("characters of several tokens were drawn: " + beyondAscii, beyondAscii >= 1);
    }

    @Test
    public void namesOfFilesAreUtf8() {
        try (Model model = Model.open(Fixture.file("mod\u00e8le \ud83d\ude00.rbe"))) {
            assertEquals(272, model.info().vocabulary);
        }
        String message = Fixture.assertRefused(
                RbeException.Status.IO, () -> Model.open(Fixture.file("kein \ud83d\ude00.rbe"))).getMessage();
        assertTrue(message, message.contains("kein \ud83d\ude00.rbe"));
        Fixture.assertRefused(RbeException.Status.ARGUMENT, () -> Model.open(new File("a\u0000b")));
    }

    @Test
    public void damagedFilesAreRefused() {
        try (Model damaged = Model.open(Fixture.file("damaged.rbe"))) {
            Fixture.assertRefused(RbeException.Status.FORMAT, damaged::verify);
            Fixture.assertRefused(
                    RbeException.Status.FORMAT, () -> damaged.session(Fixture.small()).complete("a", Fixture.wild(1)).next());
        }
        Fixture.assertRefused(RbeException.Status.FORMAT, () -> Model.open(Fixture.file("wild-1.txt")));
        Fixture.assertRefused(
                RbeException.Status.UNSUPPORTED, () -> Model.open(Fixture.TINY, new ModelOptions().kernelSet("\ud83d\ude00")));
    }

    @Test
    public void whatTheModelTells() {
        try (Model model = Model.open(Fixture.DEMO, new ModelOptions().kernelSet("scalar"))) {
            ModelInfo info = model.info();
            assertEquals(Fixture.DEMO.length(), info.fileBytes);
            assertEquals("scalar", info.kernelSet);
            assertEquals(2048, info.vocabulary);
            assertEquals(1024, info.contextTokens);
            assertTrue(info.hasTokenizer && info.hasChatTemplate && info.parameters > 3_000_000 && info.layers == 5);
        }
        assertTrue(Model.libraryVersion().matches("\\d+\\.\\d+\\.\\d+"));
    }
}
