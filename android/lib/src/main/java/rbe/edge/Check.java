package rbe.edge;

/** Numbers that the library takes without a sign. */
final class Check {
    private Check() {}

    static long notNegative(long number, String name) {
        if (number < 0) {
            throw new IllegalArgumentException(name + " is " + number + "; give 0 or more");
        }
        return number;
    }

    static int notNegative(int number, String name) {
        return (int) notNegative((long) number, name);
    }
}
