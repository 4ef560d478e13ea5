/* Recurrences: what a layer of them gives, against sums in double precision, with every set of kernels. */
#include <math.h>

#include "check.h"

#define N 40u
#include "recurrent_layer.h"
#include "recurrent_model.h"

#define N_TOKENS 100u
#define DELTA RBE_MIXER_DELTA_NET
#define SPACE RBE_MIXER_STATE_SPACE

static const rbe__recurrence_shape shapes[] = {
    {DELTA, 1, 1, 4, 4, 1},  {DELTA, 2, 6, 16, 40, 4}, {DELTA, 3, 3, 70, 17, 2},
    {SPACE, 1, 3, 20, 8, 4}, {SPACE, 2, 4, 66, 37, 3}, {SPACE, 1, 1, 1, 1, 32},
};

enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* The block of the model, 0 where it has no bias. */
static parameters *parameters_of(const recurrent_model *from)
{
    const rbe__recurrence_shape *shape = &from->shape;
    const sizes of = {shape->rule, shape->n_keys, shape->n_values, shape->key_dim, shape->value_dim, shape->taps};
    parameters *made = make_parameters(&of, from->model->stack.width, N);
    made->epsilon = made->gated_epsilon = 1e-5f;
    for (uint32_t t = 0; t < N_TENSORS; t++) {
        const float *values = recurrent_values(from, names[t]);
        for (size_t i = 0; i < count(made, t); i++) {
            made->exact[t][i] = values ? (double)values[i] : 0;
        }
    }
    return made;
}

static void check_against_doubles(const recurrent_model *from)
{
    rbe_model *model = from->model;
    rbe__layer *layer = &model->stack.layers[0];
    const uint32_t n_blocks = layer->n_blocks;
    const size_t n = (size_t)N * model->stack.width;
    parameters *reference = parameters_of(from);
    float *x = malloc(n * sizeof *x);
    double *expected = malloc(n * sizeof *expected), worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)reference->hidden[i];
    }
    (void)loss_of(reference, expected);
    layer->n_blocks = 1;
    rbe_session *session = open_session(model, 64, 2, 16, 0);
    CHECK(rbe_session_run_layers(session, 0, 1, 0, x, N, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    layer->n_blocks = n_blocks;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)x[i] - expected[i]), added = fabs(expected[i] - reference->hidden[i]);
        worst = error > worst || isnan(error) ? error : worst;
        largest = added > largest ? added : largest;
    }
    CHECK(largest > 0.1 && worst < 1e-5 * largest, "%s: off by %g, of %g", model->kernels.name, worst, largest);
    rbe_session_free(session);
    free_parameters(reference);
    free(x);
    free(expected);
}

/* Every set of kernels gives the bits of the scalar one. */
static void check_sets(const rbe__recurrence_shape *shape, int with_biases)
{
    recurrent_model scalar, other;
    uint32_t tokens[N_TOKENS];
    const char *name;
    open_recurrent("scalar", shape, with_biases, &scalar);
    CHECK(scalar.model != NULL, "%s", rbe_last_error());
    fill_tokens(scalar.model, tokens, N_TOKENS);
    rbe_session *expected = open_session(scalar.model, 128, 1, 64, 0);
    append(expected, tokens, N_TOKENS);
    check_against_doubles(&scalar);
    for (uint32_t i = 1; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        if (!rbe_kernel_set_available(name) || rbe__kernels_use_amx(name)) {
            continue;
        }
        open_recurrent(name, shape, with_biases, &other);
        rbe_session *session = open_session(other.model, 128, 2, 17, 0);
        append(session, tokens, N_TOKENS);
        CHECK(same_logits(session, expected), "%s", name);
        check_against_doubles(&other);
        rbe_session_free(session);
        close_recurrent(&other);
    }
    rbe_session_free(expected);
    close_recurrent(&scalar);
}

int main(void)
{
    for (int i = 0; i < N_SHAPES; i++) {
        check_sets(&shapes[i], i % 2);
    }
    return check_finish();
}
