#include "layers/workspace.h"

static float *take_floats(rbe__arena *arena, size_t count)
{
    return rbe__arena_take(arena, count, sizeof(float));
}

void rbe__workspace_take(rbe__workspace *workspace, rbe__arena *arena)
{
    workspace->scales = take_floats(arena, rbe__arena_count(workspace->most_tokens, workspace->max_cols / RBE_BLOCK_COLS + 1));
    workspace->quantized = rbe__arena_take(arena, rbe__arena_count(workspace->most_tokens, workspace->max_cols), 1);
    if (workspace->has_grouped) {
        workspace->plain_scales = take_floats(arena, rbe__arena_count(workspace->most_tokens, workspace->max_cols / RBE_BLOCK_COLS + 1));
        workspace->plain = rbe__arena_take(arena, rbe__arena_count(workspace->most_tokens + (size_t)1, workspace->max_cols),
                                           1); /* a tile reads 64 */
    }
}

void rbe__workspace_take_threads(rbe__workspace *workspace, uint32_t n_threads, rbe__arena *arena)
{
    const size_t most_tokens = workspace->most_tokens, head_dim = workspace->max_head_dim;
    const size_t rounded = (size_t)RBE_ATTENTION_QUERIES * rbe__attention_stride(workspace->max_head_dim);
    for (uint32_t t = 0; t < n_threads; t++) {
        rbe__thread_scratch *scratch = &workspace->threads[t];
        scratch->tile = rbe__arena_take(arena, (size_t)RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4, 1);
        scratch->acc = rbe__arena_take(arena, most_tokens * RBE_STRIP_ROWS, sizeof(int32_t));
        scratch->sum = take_floats(arena, most_tokens * RBE_STRIP_ROWS);
        scratch->row_scale = take_floats(arena, RBE_STRIP_ROWS);
        scratch->rotated = take_floats(arena, workspace->max_cols);
        scratch->block_scale = take_floats(arena, workspace->max_cols / RBE_BLOCK_COLS + 1);
        scratch->queries = take_floats(arena, RBE_ATTENTION_QUERIES * head_dim);
        scratch->attended = take_floats(arena, RBE_ATTENTION_QUERIES * head_dim);
        scratch->joined = take_floats(arena, RBE_ATTENTION_QUERIES * head_dim);
        scratch->scores = take_floats(arena, (size_t)RBE_ATTENTION_QUERIES * RBE_KV_BLOCK);
        scratch->expanded = take_floats(arena, RBE_KV_BLOCK * head_dim);
        scratch->rounded = rbe__arena_take(arena, rounded, 1);
        scratch->rounded_scales = take_floats(arena, RBE_ATTENTION_QUERIES);
        scratch->weights = rbe__arena_take(arena, (size_t)RBE_ATTENTION_QUERIES * RBE_KV_BLOCK, 1);
        scratch->products = rbe__arena_take(arena, rounded, sizeof(int32_t));
        scratch->row = take_floats(arena, workspace->has_rows_only ? workspace->max_cols : 0);
    }
}
