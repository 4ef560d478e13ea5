/* The elementary functions: within their bounds of <math.h>, and the same bits on every machine. */
#include <math.h>

#include "base/elementary.h"
#include "check.h"
#include "kernel_cases.h"

static uint64_t digest = 0xcbf29ce484222325u; /* FNV-1a */

static void take(double value)
{
    uint8_t bytes[sizeof value];
    memcpy(bytes, &value, sizeof value);
    for (size_t i = 0; i < sizeof value; i++) { /* little-endian */
        digest = (digest ^ bytes[i]) * 0x100000001b3u;
    }
}

/* in (-1, 1), all 53 bits random */
static double random_double(void)
{
    return (double)(int64_t)random_bits() * 0x1p-63;
}

static void test_exp(void)
{
    for (uint32_t i = 0; i < 100000; i++) {
        const double x = random_double() * (i % 3 == 0 ? 700 : i % 3 == 1 ? 20 : 0x1p-20), exact = exp(x), value = rbe__exp(x);
        CHECK(fabs(value - exact) <= 0x1p-50 * exact, "exp of %a: %a, not %a", x, value, exact);
        take(value);
    }
    CHECK(rbe__exp(0) == 1 && rbe__exp(-0.0) == 1, "exp of 0");
    CHECK(rbe__exp(-708.5) == 0 && rbe__exp(-INFINITY) == 0 && rbe__exp(-1e300) == 0, "far below");
    CHECK(rbe__exp(710) == INFINITY && rbe__exp(INFINITY) == INFINITY, "far above");
    CHECK(isnan(rbe__exp(NAN)), "NaN");
    CHECK(fabs(rbe__exp(709) / exp(709) - 1) < 0x1p-50 && fabs(rbe__exp(-708) / exp(-708) - 1) < 0x1p-50, "the ends");
}

static void test_log(void)
{
    for (uint32_t i = 0; i < 100000; i++) {
        const int exponent = (int)random_between(0, 2000) - 1000;
        const double fraction = random_double(), x = i % 2 ? 1 + 0.5 * fraction : ldexp(1 + fabs(fraction), exponent);
        const double exact = log(x), value = rbe__log(x);
        CHECK(fabs(value - exact) <= 0x1p-50 * (fabs(exact) + 0x1p-3), "log of %a: %a, not %a", x, value, exact);
        take(value);
    }
    CHECK(rbe__log(1) == 0, "log of 1");
}

static void test_sin(void)
{
    for (uint32_t i = 0; i < 100000; i++) {
        const double turns = random_double() * (i % 2 ? 1 : 0x1p19), part = turns - rint(turns);
        const double exact = sin(2 * acos(-1) * part), value = rbe__sin_turns(turns);
        CHECK(fabs(value - exact) <= 2e-15, "sin of %a turns: %a, not %a", turns, value, exact);
        take(value);
    }
    CHECK(rbe__sin_turns(0.25) == 1 && rbe__sin_turns(-0.25) == -1 && rbe__sin_turns(3) == 0, "quarters");
}

int main(void)
{
    test_exp();
    test_log();
    test_sin();
    CHECK(digest == 0x76de46e143c689d1u, "the digest of all values is %#llx", (unsigned long long)digest);
    return check_finish();
}
