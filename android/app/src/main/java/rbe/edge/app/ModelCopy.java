package rbe.edge.app;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Locale;
import java.util.function.BooleanSupplier;
import rbe.edge.Progress;

/** A model is mapped, which takes a file: what a file picker gives is a stream, and is copied into the app's folder. */
final class ModelCopy {
    static final long UNKNOWN = -1;
    private static final long SPARE = 64L << 20; // what is left free: a full disk harms every app

    private ModelCopy() {}

    /**
     * Copies a stream to a file, which appears whole or not at all.
     *
     * @param bytes how many will come, or UNKNOWN
     * @param progress bytes done and in total (0 where unknown), every megabyte
     * @param stopped asked every 64 KB
     * @return false where it was stopped
     * @throws IOException with a line that says what to do where there is not enough room, or the stream ends early
     */
    static boolean copy(InputStream from, long bytes, File to, Progress progress, BooleanSupplier stopped) throws IOException {
        File folder = to.getAbsoluteFile().getParentFile();
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("the folder " + folder + " cannot be made");
        }
        checkRoom(folder, Math.max(bytes, 0));
        File part = new File(folder, to.getName() + ".part");
        boolean done = false;
        try {
            done = write(from, bytes, part, progress, stopped);
            if (done && !part.renameTo(to)) {
                throw new IOException(to.getName() + " cannot be put in its place");
            }
            return done;
        } finally {
            part.delete();
        }
    }

    private static void checkRoom(File folder, long bytes) throws IOException {
        long free = folder.getUsableSpace();
        if (free - SPARE < bytes) {
            throw new IOException("the model takes " + size(bytes) + " and " + size(Math.max(free - SPARE, 0))
                    + " are free; delete something, or pack the model with fewer --bits");
        }
    }

    private static boolean write(InputStream from, long bytes, File part, Progress progress, BooleanSupplier stopped)
            throws IOException {
        byte[] buffer = new byte[1 << 16];
        long done = 0;
        try (FileOutputStream out = new FileOutputStream(part)) {
            for (int n = from.read(buffer); n >= 0; n = from.read(buffer)) {
                if (stopped.getAsBoolean()) {
                    return false;
                }
                out.write(buffer, 0, n);
                if (done >> 20 != (done + n) >> 20) {
                    progress.onProgress(done + n, Math.max(bytes, 0));
                    if (bytes < 0) {
                        checkRoom(part.getParentFile(), 0);
                    }
                }
                done += n;
            }
            out.getFD().sync();
        }
        if (bytes >= 0 && done != bytes) {
            throw new IOException("the file ended after " + size(done) + " of " + size(bytes) + "; open it again");
        }
        return true;
    }

    /** A name that a file picker gives, as one in our folder: no path, nothing hidden, ending in .rbe. */
    static String safeName(String name) {
        String last = name == null ? "" : name.substring(name.lastIndexOf('/') + 1).replaceAll("[\\p{Cntrl}\\\\:*?\"<>|]", "_");
        while (last.startsWith(".")) {
            last = last.substring(1);
        }
        last = last.endsWith(".rbe") ? last.substring(0, last.length() - 4) : last;
        if (last.length() > 40) {
            last = last.substring(0, last.offsetByCodePoints(0, Math.min(40, last.codePointCount(0, last.length()))));
        }
        return (last.isEmpty() ? "model" : last) + ".rbe";
    }

    /** Bytes for a person. */
    static String size(long bytes) {
        return bytes < 1_000_000_000
                ? String.format(Locale.ROOT, "%.1f MB", bytes / 1e6)
                : String.format(Locale.ROOT, "%.2f GB", bytes / 1e9);
    }
}
