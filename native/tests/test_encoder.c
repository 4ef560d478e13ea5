/* rbe_encode_plane, rbe_decode_plane and rbe_rotate_rows through the public header. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "encoder_samples.h"
#include "kernels/checksum.h"

typedef struct plane {
    uint32_t rows, cols;
    const rbe_codebook *codebook;
    float tensor_scale;
    size_t stream_bytes;
    float *weights, *decoded;
    uint16_t *row_scales;
    uint8_t *stream;
    double error;
} plane;

static plane gaussian_plane(uint32_t rows, uint32_t cols, const rbe_codebook *codebook, uint64_t seed)
{
    rbe_plane_layout layout;
    CHECK(rbe_plane_get_layout(rows, cols, codebook->bits, 0, &layout) == RBE_OK, "%s", rbe_last_error());
    plane p = {rows, cols, codebook, 0.01f, layout.stream_bytes, NULL, NULL, NULL, NULL, 0};
    p.weights = malloc(sizeof(float) * rows * cols);
    p.decoded = malloc(sizeof(float) * rows * cols);
    p.row_scales = malloc(sizeof(uint16_t) * rows);
    p.stream = malloc(layout.stream_bytes);
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        p.weights[i] = 0.3f * gaussian(&seed);
    }
    return p;
}

static void free_plane(plane *p)
{
    free(p->weights);
    free(p->decoded);
    free(p->row_scales);
    free(p->stream);
}

static rbe_status encode(plane *p, const rbe_encode_options *options)
{
    memset(p->stream, 0xA5, p->stream_bytes);
    memset(p->row_scales, 0xA5, sizeof(uint16_t) * p->rows);
    return rbe_encode_plane(p->weights, p->rows, p->cols, p->codebook, 0, p->tensor_scale, options, p->row_scales, p->stream, &p->error);
}

static rbe_status decode(plane *p)
{
    return rbe_decode_plane(p->stream, p->stream_bytes, p->row_scales, p->rows, p->cols, p->codebook, 0, p->tensor_scale, p->decoded);
}

static double squares(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double difference = (double)a[i] - (b != NULL ? b[i] : 0);
        sum += difference * difference;
    }
    return sum;
}

/* What docs/codec.md, "Error", says of 64-step lanes, by K - 1. */
static void check_gaussian_error(void)
{
    static const double target[4] = {0.2785, 0.0720, 0.0187, 0.00485};
    for (uint32_t k = 0; k < 4; k++) {
        plane p = gaussian_plane(128, 256, &codebooks[k], 11 + k);
        CHECK(encode(&p, NULL) == RBE_OK && decode(&p) == RBE_OK, "%s", rbe_last_error());
        const size_t n = (size_t)p.rows * p.cols;
        const double norm = squares(p.weights, NULL, n), left = squares(p.weights, p.decoded, n);
        CHECK(left / norm < 1.03 * target[k], "K %u: error %.5f, not %.5f", k + 1, left / norm, target[k]);
        CHECK(fabs(p.error / left - 1) < 1e-5, "K %u: reported %.6g, decoded %.6g", k + 1, p.error, left);
        free_plane(&p);
    }
}

static void check_odd_shapes(void)
{
    static const uint32_t shapes[][2] = {{600, 33}, {300, 77}, {257, 31}, {97, 133}, {33, 36}, {3, 171}, {1, 260}};
    for (uint32_t k = 0; k < 4; k++) {
        for (size_t i = 3 - k; i < sizeof shapes / sizeof *shapes; i += k == 0 ? 3 : 1) {
            plane p = gaussian_plane(shapes[i][0], shapes[i][1], &codebooks[k], i);
            CHECK(encode(&p, NULL) == RBE_OK && decode(&p) == RBE_OK, "%s", rbe_last_error());
            const size_t n = (size_t)p.rows * p.cols;
            const double norm = squares(p.weights, NULL, n), left = squares(p.weights, p.decoded, n);
            CHECK(left < norm * (k == 0 ? 0.45 : 0.15), "K %u, %u x %u: error %.4f", k + 1, p.rows, p.cols, left / norm);
            CHECK(fabs(p.error / left - 1) < 1e-5, "reported %.6g, decoded %.6g", p.error, left);
            free_plane(&p);
        }
    }
}

/* A row of zeros, a tiny and a huge one; values of a heavy tail. */
static void check_unequal_rows(void)
{
    plane p = gaussian_plane(40, 200, &codebooks[3], 5);
    for (uint32_t c = 0; c < p.cols; c++) {
        p.weights[7 * p.cols + c] = 0;
        p.weights[8 * p.cols + c] *= 1e-3f;
        p.weights[9 * p.cols + c] *= 30;
    }
    p.weights[12 * p.cols + 3] = 20;
    CHECK(encode(&p, NULL) == RBE_OK && decode(&p) == RBE_OK, "%s", rbe_last_error());
    CHECK(p.row_scales[7] == 0, "a row of zeros has scale %04x", p.row_scales[7]);
    for (uint32_t r = 0; r < p.rows; r++) {
        const float *w = p.weights + (size_t)r * p.cols;
        const double norm = squares(w, NULL, p.cols), left = squares(w, p.decoded + (size_t)r * p.cols, p.cols);
        CHECK(r == 7 ? left == 0 : left < (r == 12 ? 0.8 : 0.5) * norm, "row %u: error %g of %g", r, left, norm);
    }
    free_plane(&p);

    plane zeros = gaussian_plane(32, 64, &codebooks[1], 5);
    memset(zeros.weights, 0, sizeof(float) * 32 * 64);
    CHECK(encode(&zeros, NULL) == RBE_OK && zeros.error == 0 && decode(&zeros) == RBE_OK, "%s", rbe_last_error());
    CHECK(squares(zeros.decoded, NULL, 32 * 64) == 0, "zeros decode to something else");
    free_plane(&zeros);
}

/* The same bytes from every compiler, processor and instruction set: weights of exact arithmetic, checksums as of the first
 * release of this encoder. A change that improves the encoder may change them. */
static void check_bytes_everywhere(void)
{
    static const uint32_t expected[4] = {0x3945d931, 0x41ee0ce4, 0x03d55790, 0xa358ff94};
    static rbe__crc crc;
    rbe_kernels kernels;
    CHECK(rbe__kernels_select(NULL, &kernels) == 0, "kernels");
    rbe__crc_init(&kernels, &crc);
    for (uint32_t k = 0; k < 4; k++) {
        plane p = gaussian_plane(72, 68, &codebooks[k], 1);
        uint64_t state = k;
        for (uint32_t i = 0; i < p.rows * p.cols; i++) {
            double sum = -6;
            for (int j = 0; j < 12; j++) {
                sum += uniform(&state);
            }
            p.weights[i] = (float)(sum * (1 + i / p.cols % 5));
        }
        CHECK(encode(&p, NULL) == RBE_OK, "%s", rbe_last_error());
        uint32_t found = rbe__crc_update(&crc, 0, p.stream, p.stream_bytes);
        found = rbe__crc_update(&crc, found, p.row_scales, sizeof *p.row_scales * p.rows);
        CHECK(found == expected[k], "K %u: 0x%08x, not 0x%08x", k + 1, found, expected[k]);
        free_plane(&p);
    }
}

typedef struct watch {
    uint64_t done, total, calls, stop_at;
    int monotonic;
} watch;

static int on_progress(uint64_t done, uint64_t total, void *user)
{
    watch *w = user;
    w->monotonic &= done >= w->done && done <= total;
    w->done = done;
    w->total = total;
    w->calls++;
    return w->stop_at != 0 && done >= w->stop_at;
}

static void check_threads_and_progress(void)
{
    plane a = gaussian_plane(150, 100, &codebooks[2], 3), b = gaussian_plane(150, 100, &codebooks[2], 3);
    watch seen = {.monotonic = 1};
    rbe_encode_options options = {.struct_bytes = sizeof options, .n_threads = 1};
    CHECK(encode(&a, &options) == RBE_OK, "%s", rbe_last_error());
    options.n_threads = 5;
    options.progress = on_progress;
    options.user = &seen;
    CHECK(encode(&b, &options) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(a.stream, b.stream, a.stream_bytes) == 0, "the stream depends on the number of threads");
    CHECK(memcmp(a.row_scales, b.row_scales, sizeof(uint16_t) * a.rows) == 0, "the scales depend on the number of threads");
    CHECK(a.error == b.error, "the error depends on the number of threads");
    CHECK(seen.monotonic && seen.calls > 0 && seen.done == seen.total, "progress: %llu of %llu", (unsigned long long)seen.done,
          (unsigned long long)seen.total);

    watch stopping = {.monotonic = 1, .stop_at = 3};
    options.n_threads = 1;
    options.user = &stopping;
    CHECK(encode(&b, &options) == RBE_ERROR_CANCELLED && b.error == 0, "cancelling");
    CHECK(stopping.calls == 3, "%llu calls, although the third asked to stop", (unsigned long long)stopping.calls);
    free_plane(&a);
    free_plane(&b);
}

static void check_bad_arguments(void)
{
    plane p = gaussian_plane(32, 64, &codebooks[3], 1);
    rbe_codebook book = codebooks[3];
    p.codebook = &book;
    p.weights[5 * 64 + 3] = NAN;
    CHECK(encode(&p, NULL) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "row 5"), "%s", rbe_last_error());
    p.weights[5 * 64 + 3] = -INFINITY;
    CHECK(encode(&p, NULL) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "row 5"), "%s", rbe_last_error());
    p.weights[5 * 64 + 3] = 0;
    for (int i = 0; i < 3; i++) {
        p.tensor_scale = (const float[]){0, -1, INFINITY}[i];
        CHECK(encode(&p, NULL) == RBE_ERROR_ARGUMENT, "tensor scale %g", (double)p.tensor_scale);
    }
    p.tensor_scale = 1;
    book.bits = 5;
    CHECK(encode(&p, NULL) == RBE_ERROR_ARGUMENT && decode(&p) == RBE_ERROR_ARGUMENT, "5 bits");
    book.bits = 4;
    book.t1[2] = 127;
    CHECK(encode(&p, NULL) == RBE_ERROR_ARGUMENT && decode(&p) == RBE_ERROR_ARGUMENT, "sums over 127");
    book = codebooks[3];
    rbe_encode_options options = {.struct_bytes = sizeof options, .n_threads = 1000};
    CHECK(encode(&p, &options) == RBE_ERROR_ARGUMENT, "1000 threads");
    CHECK(rbe_encode_plane(p.weights, 32, 64, &book, 0, 1, NULL, NULL, p.stream, &p.error) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_encode_plane(p.weights, 4, 4, &book, 0, 1, NULL, p.row_scales, p.stream, &p.error) == RBE_ERROR_ARGUMENT,
          "a matrix with too short lanes");
    CHECK(rbe_encode_plane(p.weights, 32, 64, &book, 12, 1, NULL, p.row_scales, p.stream, &p.error) == RBE_ERROR_ARGUMENT, "unit_rows 12");
    p.stream_bytes--;
    CHECK(decode(&p) == RBE_ERROR_ARGUMENT, "a short stream");
    free_plane(&p);
}

static void check_rotation(void)
{
    /* Outputs of splitmix64 from state 1234567 (Vigna's reference code): 6457827717110365317, 3203168211198807973,
     * 9817491932198370423, 4593380528125082431, 16408922859458223821: bit 63 is 0, 0, 1, 0, 1. */
    float signs[5] = {1, 1, 1, 1, 1};
    CHECK(rbe_rotate_rows(signs, 1, 5, 1, 1234567, 0) == RBE_OK, "%s", rbe_last_error());
    CHECK(signs[0] == 1 && signs[1] == 1 && signs[2] == -1 && signs[3] == 1 && signs[4] == -1, "signs");

    enum { ROWS = 3, COLS = 192, BLOCK = 64 };
    static float weights[ROWS * COLS], rotated[ROWS * COLS];
    uint64_t state = 9;
    for (int i = 0; i < ROWS * COLS; i++) {
        rotated[i] = weights[i] = gaussian(&state);
    }
    CHECK(rbe_rotate_rows(rotated, ROWS, COLS, BLOCK, 42, 0) == RBE_OK, "%s", rbe_last_error());
    float sign[COLS];
    for (int c = 0; c < COLS; c++) {
        sign[c] = 1;
    }
    rbe_rotate_rows(sign, 1, COLS, 1, 42, 0);
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLS; c++) {
            double sum = 0;
            for (int i = 0; i < BLOCK; i++) {
                const int from = c / BLOCK * BLOCK + i;
                const double h = __builtin_parity((unsigned)(i & c % BLOCK)) ? -0.125 : 0.125;
                sum += (double)weights[r * COLS + from] * sign[from] * h;
            }
            CHECK(fabs(sum - rotated[r * COLS + c]) < 1e-5, "row %d column %d: %g, not %g", r, c, rotated[r * COLS + c], sum);
        }
    }
    CHECK(rbe_rotate_rows(rotated, ROWS, COLS, BLOCK, 42, 1) == RBE_OK, "%s", rbe_last_error());
    CHECK(squares(rotated, weights, ROWS * COLS) < 1e-9, "the inverse does not undo the rotation");

    CHECK(rbe_rotate_rows(weights, 1, COLS, 128, 1, 0) == RBE_ERROR_ARGUMENT, "a block that does not divide");
    CHECK(rbe_rotate_rows(weights, 1, COLS, 3, 1, 0) == RBE_ERROR_ARGUMENT, "a block that is no power of two");
    CHECK(rbe_rotate_rows(weights, 1, COLS, 0, 1, 0) == RBE_ERROR_ARGUMENT, "no block");
    CHECK(rbe_rotate_rows(NULL, 1, COLS, 64, 1, 0) == RBE_ERROR_ARGUMENT, "no weights");
}

int main(void)
{
    check_gaussian_error();
    check_odd_shapes();
    check_unequal_rows();
    check_bytes_everywhere();
    check_threads_and_progress();
    check_bad_arguments();
    check_rotation();
    return check_finish();
}
