/* Activation functions and their slopes. Exponentials are those of the kernels.
 * SiLU: v s with s = 1 / (1 + exp(-v)); slope s + v s (1 - s).
 * GELU, tanh form: v s with s = 1 / (1 + exp(-u)), u = 2 sqrt(2 / pi) (v + .044715 v^3); slope s + v s (1 - s) u'.
 * ReLU: slope 1 from 0 on, else 0. Its square: 2 v from 0 on, else 0.
 * GELU: v P(v) with P the normal distribution; slope P(v) + v exp(-v^2 / 2) / sqrt(2 pi). P(v) is gelu(v) / v, near 0 its series. */
#include <math.h>
#include <string.h>

#include "gradients/gradients.h"
#include "layers/activation.h"

enum { PIECE = 256 }; /* values at a time, on the stack */

#define TWICE_ROOT 1.5957691216f   /* 2 sqrt(2 / pi) */
#define CUBE .0713548162f          /* .044715 of that */
#define DENSITY .3989422804f       /* 1 / sqrt(2 pi) */
#define NEAR .0625f                /* up to here the series' error is under 2^-27 */

typedef struct activation_job {
    const rbe_gradients *gradients;
    const rbe_kernels *kernels;
    rbe__activation kind;
    const float *gate, *up;
    size_t n;
    float *d, *d_gate; /* or active */
} activation_job;

static void activate(const activation_job *job, const float *gate, uint32_t n, float *up)
{
    rbe__activate(job->kernels, job->kind, gate, n, up);
}

/* How many values item has; none once the call is cancelled. */
static uint32_t piece_of(const activation_job *job, uint32_t item, size_t *first)
{
    *first = (size_t)item * PIECE;
    if (rbe__gradients_stopped(job->gradients)) {
        return 0;
    }
    return job->n - *first < PIECE ? (uint32_t)(job->n - *first) : PIECE;
}

static void forward_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const activation_job *job = context;
    size_t first;
    const uint32_t n = piece_of(job, item, &first);
    float *active = job->d + first;
    memcpy(active, job->up + first, n * sizeof *active);
    activate(job, job->gate ? job->gate + first : NULL, n, active);
}

/* slopes[i] = s + v s (1 - s) u' */
static void sigmoid_slopes(const activation_job *job, const float *v, uint32_t n, float *slopes)
{
    const int is_tanh = job->kind == RBE_ACTIVATION_GELU_TANH;
    for (uint32_t i = 0; i < n; i++) {
        slopes[i] = is_tanh ? -(v[i] * (TWICE_ROOT + CUBE * (v[i] * v[i]))) : -v[i];
    }
    job->kernels->exponential(slopes, n);
    for (uint32_t i = 0; i < n; i++) {
        const float s = 1.0f / (1.0f + slopes[i]), inner = is_tanh ? TWICE_ROOT + 3.0f * CUBE * (v[i] * v[i]) : 1.0f;
        slopes[i] = s + v[i] * inner * (s * (1.0f - s));
    }
}

static void normal_slopes(const activation_job *job, const float *v, uint32_t n, float *slopes)
{
    float values[PIECE];
    memcpy(values, v, n * sizeof *values);
    job->kernels->gelu(NULL, n, values);
    for (uint32_t i = 0; i < n; i++) {
        slopes[i] = -.5f * (v[i] * v[i]);
    }
    job->kernels->exponential(slopes, n);
    for (uint32_t i = 0; i < n; i++) {
        const int is_near = fabsf(v[i]) < NEAR;
        const float share = is_near ? .5f + DENSITY * (v[i] - v[i] * v[i] * v[i] * (1.0f / 6.0f)) : values[i] / v[i];
        slopes[i] = share + DENSITY * v[i] * slopes[i];
    }
}

static void steps(const activation_job *job, const float *v, uint32_t n, float *slopes)
{
    const int is_square = job->kind == RBE_ACTIVATION_RELU2;
    for (uint32_t i = 0; i < n; i++) {
        slopes[i] = v[i] < 0.0f ? 0.0f : is_square ? 2.0f * v[i] : 1.0f;
    }
}

static void backward_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const activation_job *job = context;
    size_t first;
    const uint32_t n = piece_of(job, item, &first);
    const float *v = (job->gate ? job->gate : job->up) + first;
    float slopes[PIECE], active[PIECE], *d = job->d + first;
    const int is_relu = job->kind == RBE_ACTIVATION_RELU || job->kind == RBE_ACTIVATION_RELU2;
    (job->kind == RBE_ACTIVATION_GELU ? normal_slopes : is_relu ? steps : sigmoid_slopes)(job, v, n, slopes);
    if (!job->gate) {
        job->kernels->multiply(d, slopes, n);
        return;
    }
    float *d_gate = job->d_gate + first;
    memcpy(d_gate, d, n * sizeof *d);
    job->kernels->multiply(d_gate, job->up + first, n);
    job->kernels->multiply(d_gate, slopes, n);
    memcpy(active, v, n * sizeof *active);
    activate(job, NULL, n, active);
    job->kernels->multiply(d, active, n);
}

static void run(const rbe_gradients *gradients, activation_job job, rbe__work *work)
{
    job.gradients = gradients;
    job.kernels = gradients->stack->kernels;
    rbe__thread_pool_run(gradients->thread_pool, (uint32_t)((job.n - 1) / PIECE) + 1, work, &job);
}

void rbe__activation_forward(const rbe_gradients *gradients, rbe__activation kind, const float *gate, const float *up, size_t n,
                             float *active)
{
    run(gradients, (activation_job){.kind = kind, .gate = gate, .up = up, .n = n, .d = active}, forward_piece);
}

void rbe__activation_backward(const rbe_gradients *gradients, rbe__activation kind, const float *gate, const float *up, size_t n, float *d,
                              float *d_gate)
{
    run(gradients, (activation_job){.kind = kind, .gate = gate, .up = up, .n = n, .d = d, .d_gate = d_gate}, backward_piece);
}
