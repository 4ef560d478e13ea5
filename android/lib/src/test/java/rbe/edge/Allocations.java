package rbe.edge;

/** The bridge's own allocations: android/lib/src/test/c/counted_allocator.c. */
final class Allocations {
    private Allocations() {}

    /** How many are not freed. */
    static native long live();

    /** How many there were. */
    static native long made();

    /** Refuses the n-th from now on; 0: none. */
    static native void refuse(long n);
}
