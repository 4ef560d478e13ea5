#include "base/status.h"
#include "session/session.h"

/* One transformer block serves every architecture: what a model does not have is absent from its layer. */

/* Whose cache token n of a pass goes to, and where. */
static rbe__row row_of(rbe_session *session, uint32_t first_position, uint32_t n)
{
    return session->rows ? session->rows[n] : (rbe__row){session, first_position + n};
}

void rbe__embed_tokens(rbe_session *session, const uint32_t *tokens, uint32_t n_tokens, uint32_t first_position)
{
    const rbe_model *model = session->model;
    uint32_t width = model->config.width;
    for (uint32_t n = 0; n < n_tokens; n++) {
        rbe__embed(&model->kernels, model->embedding, model->positions, session->workspace.n_planes, tokens[n],
                   row_of(session, first_position, n).position, model->config.embedding_scale, session->branch,
                   session->hidden + (size_t)n * width);
        rbe__residency_release(session->workspace.residency);
    }
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_EMBED);
}

static size_t rope_offset(const rbe_session *session, uint32_t table, uint32_t token)
{
    return ((size_t)table * session->workspace.batch + token) * session->model->rope_pairs;
}

static void compute_rope_angles(rbe_session *session, uint32_t n_tokens, uint32_t first_position)
{
    const rbe_model *model = session->model;
    for (uint32_t table = 0; session->rope_frequencies && table < model->n_rope_tables; table++) {
        for (uint32_t n = 0; n < n_tokens; n++) {
            size_t at = rope_offset(session, table, n);
            const rbe__row row = row_of(session, first_position, n);
            rbe__rope_angles(row.owner->rope_frequencies + (size_t)table * model->rope_pairs, model->rope_pairs, row.position,
                             row.owner->rope_factor, session->cosines + at, session->sines + at);
        }
    }
}

/* The step that ends a branch, of x or of what an activation function makes: it adds to the residual stream itself, unless the
 * architecture has a norm in between. */
static void end_branch(rbe_session *session, const rbe__projection *projection, const rbe__norm *post_norm, const float *x,
                       const rbe__activated_input *activated, uint32_t cols, uint32_t n_tokens, rbe__operation operation)
{
    const rbe__config *config = &session->model->config;
    const rbe_kernels *kernels = session->workspace.kernels;
    const int has_norm = post_norm->weight != NULL;
    const rbe__linear_job job = {projection, has_norm ? session->branch : session->hidden, config->width, !has_norm};
    if (activated) {
        rbe__linear_activated(&session->workspace, &job, activated, cols, n_tokens);
    } else {
        rbe__linear(&session->workspace, &job, 1, x, cols, n_tokens);
    }
    rbe__profile_lap(session->workspace.profile, operation);
    for (uint32_t n = 0; has_norm && n < n_tokens; n++) {
        float *branch = session->branch + (size_t)n * config->width;
        rbe__normalize(kernels, config->norm_kind, post_norm, config->norm_epsilon, branch, config->width, 1, branch);
        kernels->add(session->hidden + (size_t)n * config->width, branch, config->width);
    }
}

static rbe__normed_input normed_input(const rbe_session *session, const rbe__norm *norm)
{
    const rbe__config *config = &session->model->config;
    return (rbe__normed_input){config->norm_kind, norm, config->norm_epsilon, session->hidden, session->normed};
}

typedef struct heads_call {
    rbe_session *session;
    uint32_t index, first_position;
} heads_call;

/* Queries and keys of one token: norms and rotary embedding; then keys and values to the cache. */
static void finish_heads(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const heads_call *call = context;
    rbe_session *session = call->session;
    const rbe_model *model = session->model;
    const rbe__layer *layer = &model->layers[call->index];
    const rbe__config *config = &model->config;
    const rbe_kernels *kernels = &model->kernels;
    const uint32_t head_dim = config->head_dim;
    const size_t kv_width = (size_t)config->n_kv_heads * head_dim;
    float *q = session->q + (size_t)token * config->n_heads * head_dim, *k = session->k + token * kv_width;
    if (layer->q_norm) {
        rbe__normalize_heads(kernels, layer->q_norm, config->norm_epsilon, q, config->n_heads, head_dim);
    }
    if (layer->k_norm) {
        rbe__normalize_heads(kernels, layer->k_norm, config->norm_epsilon, k, config->n_kv_heads, head_dim);
    }
    if (session->rope_frequencies) {
        size_t at = rope_offset(session, layer->rope_table, token);
        rbe__rope_apply(session->cosines + at, session->sines + at, model->rope_pairs, q, config->n_heads, head_dim);
        rbe__rope_apply(session->cosines + at, session->sines + at, model->rope_pairs, k, config->n_kv_heads, head_dim);
    }
    const rbe__row row = row_of(session, call->first_position, token);
    rbe__kv_store(kernels, &row.owner->kv[call->index], row.position, k, session->v + token * kv_width);
}

rbe_status rbe__capture(rbe_session *session, uint32_t layer, rbe_capture_point point, const float *x, uint32_t n_tokens, size_t cols)
{
    if (session->capture && session->capture(layer, point, x, n_tokens, (uint32_t)cols, session->capture_user)) {
        return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
    }
    return RBE_OK;
}

static void attend(rbe_session *session, uint32_t index, uint32_t n_tokens, uint32_t first_position)
{
    const rbe__config *config = &session->model->config;
    const size_t q_width = (size_t)config->n_heads * config->head_dim;
    const rbe__attention attention = {.cache = &session->kv[index],
                                      .n_heads = config->n_heads,
                                      .window = session->model->layers[index].window,
                                      .scale = config->attention_scale,
                                      .softcap = config->attention_softcap,
                                      .q = session->q,
                                      .out = session->mixed,
                                      .first_position = first_position,
                                      .n_tokens = n_tokens};
    if (!session->rows) {
        rbe__attend(&session->workspace, &attention);
        return;
    }
    for (uint32_t n = 0; n < n_tokens; n++) {
        session->attentions[n] = attention;
        session->attentions[n].cache = &session->rows[n].owner->kv[index];
        session->attentions[n].q = session->q + n * q_width;
        session->attentions[n].out = session->mixed + n * q_width;
        session->attentions[n].first_position = session->rows[n].position;
        session->attentions[n].n_tokens = 1;
    }
    rbe__attend_each(&session->workspace, session->attentions, n_tokens);
}

static rbe_status attention_branch(rbe_session *session, uint32_t index, uint32_t n_tokens, uint32_t first_position)
{
    const rbe_model *model = session->model;
    const rbe__layer *layer = &model->layers[index];
    const rbe__config *config = &model->config;
    const uint32_t head_dim = config->head_dim, q_width = config->n_heads * head_dim;
    const size_t kv_width = (size_t)config->n_kv_heads * head_dim;

    const rbe__normed_input input = normed_input(session, &layer->attention_norm);
    const rbe__linear_job qkv[] = {
        {&layer->q, session->q, q_width, 0}, {&layer->k, session->k, kv_width, 0}, {&layer->v, session->v, kv_width, 0}};
    rbe__linear_normed(&session->workspace, qkv, 3, &input, config->width, n_tokens);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_QKV);
    RBE_TRY(rbe__capture(session, index, RBE_CAPTURE_QKV, session->normed, n_tokens, config->width));

    heads_call heads = {session, index, first_position};
    rbe__thread_pool_run(session->workspace.pool, n_tokens, finish_heads, &heads);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_HEADS);
    attend(session, index, n_tokens, first_position);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_ATTENTION);

    RBE_TRY(rbe__capture(session, index, RBE_CAPTURE_O, session->mixed, n_tokens, q_width));
    end_branch(session, &layer->o, &layer->attention_post_norm, session->mixed, NULL, q_width, n_tokens, RBE_OPERATION_O);
    return RBE_OK;
}

static rbe_status feed_forward_branch(rbe_session *session, uint32_t index, uint32_t n_tokens)
{
    const rbe__layer *layer = &session->model->layers[index];
    const rbe__config *config = &session->model->config;
    const rbe__normed_input input = normed_input(session, &layer->feed_forward_norm);
    const rbe__linear_job up[] = {{&layer->up, session->up, config->feed_forward, 0},
                                  {&layer->gate, session->gate, config->feed_forward, 0}};
    rbe__linear_normed(&session->workspace, up, config->gated ? 2 : 1, &input, config->width, n_tokens);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_GATE_UP);
    RBE_TRY(rbe__capture(session, index, RBE_CAPTURE_UP, session->normed, n_tokens, config->width));
    const rbe__activated_input activated = {config->activation, config->gated ? session->gate : NULL, session->up};
    end_branch(session, &layer->down, &layer->feed_forward_post_norm, NULL, &activated, config->feed_forward, n_tokens, RBE_OPERATION_DOWN);
    return rbe__capture(session, index, RBE_CAPTURE_DOWN, session->up, n_tokens, config->feed_forward);
}

rbe_status rbe__run_layers(rbe_session *session, uint32_t first_layer, uint32_t n_layers, uint32_t n_tokens, uint32_t first_position)
{
    compute_rope_angles(session, n_tokens, first_position);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_OTHER);
    for (uint32_t i = first_layer; i < first_layer + n_layers; i++) {
        if (atomic_exchange_explicit(&session->cancelled, 0, memory_order_relaxed)) {
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
        RBE_TRY(attention_branch(session, i, n_tokens, first_position));
        RBE_TRY(feed_forward_branch(session, i, n_tokens));
    }
    return RBE_OK;
}

void rbe__final_norm(rbe_session *session, uint32_t n_tokens)
{
    const rbe__config *config = &session->model->config;
    rbe__normalize(session->workspace.kernels, config->norm_kind, &session->model->norm, config->norm_epsilon, session->hidden,
                   config->width, n_tokens, session->normed);
}

rbe_status rbe__forward(rbe_session *session, const uint32_t *tokens, uint32_t n_tokens, uint32_t first_position)
{
    rbe__profile_start(session->workspace.profile);
    rbe__embed_tokens(session, tokens, n_tokens, first_position);
    RBE_TRY(rbe__run_layers(session, 0, session->model->config.n_layers, n_tokens, first_position));
    rbe__final_norm(session, n_tokens);
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_OTHER);
    return RBE_OK;
}

void rbe__head(rbe_session *session, uint32_t first_row, uint32_t n_tokens, float *logits)
{
    const rbe__config *config = &session->model->config;
    rbe__profile_start(session->workspace.profile);
    const rbe__linear_job head = {&session->model->head, logits, config->n_vocabulary, 0};
    rbe__linear(&session->workspace, &head, 1, session->normed + (size_t)first_row * config->width, config->width, n_tokens);
    if (config->logit_softcap != 0.0f) {
        for (uint32_t n = 0; n < n_tokens; n++) {
            session->workspace.kernels->softcap(logits + (size_t)n * config->n_vocabulary, config->n_vocabulary, config->logit_softcap);
        }
    }
    rbe__profile_lap(session->workspace.profile, RBE_OPERATION_HEAD);
}
