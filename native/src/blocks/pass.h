/* A pass computes rows of hidden states through layers of a stack. It holds the workspace, the buffers, and what may change from one
 * pass to the next: the number of threads, and how much of the stack is read. Each row belongs to a run. A run is consecutive positions
 * of one state: a decode step has runs of one row, a prompt is one run. One pass may hold both, since the result of a row depends on its
 * own state alone. One thread uses a pass at a time; any thread may cancel it. */
#ifndef RBE_PASS_H
#define RBE_PASS_H

#include <stdatomic.h>

#include "blocks/effort.h"
#include "blocks/state.h"

typedef struct rbe__run {
    rbe__state *state;
    uint32_t first_position, n_tokens; /* at least 1, with room behind first_position */
} rbe__run;

/* Where one row of a pass stands. */
typedef struct rbe__row {
    const rbe__state *state;
    uint32_t position;
} rbe__row;

struct rbe__pass {
    const rbe__stack *stack;
    rbe__workspace workspace;
    rbe__profile profile; /* the workspace points to it where it is wanted */
    atomic_int cancelled;
    atomic_int *cancelled_with; /* in its place: that of the pass which this one runs for; NULL: none */
    uint32_t n_unread; /* of the next pass, of one run: so many of its first rows are of no use but for what states keep */
    int must_finish; /* 1: rbe__pass_commit */
    rbe__effort effort; /* what is read, in the owner's arena */
    uint32_t planes; /* of the matrices of the block that runs; 0: all */
    uint32_t context; /* up to so many positions the threads divide the attention of one row; a state may have more */

    const rbe__run *runs; /* of the pass that runs */
    uint32_t n_runs, n_tokens; /* of rows: behind the layers without those that are unread, where the stack could leave them out */
    rbe__run last_run; /* the only run without these */
    const uint32_t *tokens; /* [n_tokens]; NULL where hidden states were given */
    uint32_t
        filled_positions; /* 0, or the one run is of a text of so many positions whose keys and values stand already, and are not stored again */

    /* In the owner's arena; rows are workspace.most_tokens. */
    rbe__row *rows;
    float *hidden, *normed, *branch; /* [rows][width] */
    float *layer_input; /* the same, where a block reads it; else NULL */
    float *layer_inputs; /* [rows][stack->layer_inputs.n]; NULL where there are none */
    float *cosines, *sines; /* [n_rope_tables][rows][rope_pairs] */
    void *scratch; /* of one block at a time */
    uint32_t logits_rows; /* whose logits are computed at once, at least 1 */
    float *logits; /* [logits_rows][n_vocabulary] */

    void *threads_memory; /* scratch of threads that were added; NULL: none */
    size_t threads_bytes;
    uint32_t n_scratch_threads; /* how many threads have scratch */

    rbe_capture_callback capture; /* NULL: none */
    void *capture_user;
};

/* Sets sizes: enough for rbe__pass_take to measure. most_tokens: rows, at least 1; profile: 1 to measure. The pass is zeroed memory. */
void rbe__pass_plan(rbe__pass *pass, const rbe__stack *stack, uint32_t most_tokens, uint32_t context, uint32_t n_threads, int profile);

/* The same, and starts the threads. */
rbe_status rbe__pass_open(rbe__pass *pass, const rbe__stack *stack, uint32_t most_tokens, uint32_t context, uint32_t n_threads,
                          int profile);

/* Takes the buffers; called once to measure and once for real. */
void rbe__pass_take(rbe__pass *pass, rbe__arena *arena);

/* Ends the threads. The arena is the owner's. */
void rbe__pass_close(rbe__pass *pass);

/* Another number of threads from the next pass on. On failure the pass is as before. */
rbe_status rbe__pass_set_threads(rbe__pass *pass, uint32_t n_threads);

/* The same with another way to use the machine. */
rbe_status rbe__pass_set_workers(rbe__pass *pass, uint32_t n_threads, rbe__workers workers);

/* The rows of the runs, workspace.most_tokens at most in all, in their order. The runs must stay until the pass is over. */
void rbe__pass_begin(rbe__pass *pass, const rbe__run *runs, uint32_t n_runs);

/* The hidden states before the first layer, of tokens [n_tokens] in the vocabulary. segments [n_tokens], each a row of that table; NULL: all 0. */
void rbe__pass_embed(rbe__pass *pass, const uint32_t *tokens, const uint8_t *segments);

/* `hidden` through layers first_layer ... end_layer - 1, in place; all bound. RBE_ERROR_CANCELLED between layers, unless it was committed to. */
rbe_status rbe__pass_layers(rbe__pass *pass, uint32_t first_layer, uint32_t end_layer);

/* Appends `hidden` to the states of a layer's blocks, at the positions of the runs. `hidden` may come from another stack and is not
 * changed. No attention is computed. */
rbe_status rbe__pass_fill(rbe__pass *pass, uint32_t layer);

/* Stores what a layer's blocks keep of an encoder's text. `hidden` are its hidden states behind the encoder's last norm, and the positions
 * of the runs are those of the text. */
rbe_status rbe__pass_fill_text(rbe__pass *pass, uint32_t layer);

/* The last norm, where there is one: `hidden` to `normed`. */
void rbe__pass_norm(rbe__pass *pass);

/* All of these: begin, embed, every layer, the last norm. */
rbe_status rbe__pass_run(rbe__pass *pass, const rbe__run *runs, uint32_t n_runs, const uint32_t *tokens);

/* Logits [n_rows][n_vocabulary] of rows of `normed` from first_row on. */
void rbe__pass_logits(rbe__pass *pass, uint32_t first_row, uint32_t n_rows, float *logits);

/* 1 once after each rbe__pass_cancel. */
int rbe__pass_take_cancelled(rbe__pass *pass);
void rbe__pass_cancel(rbe__pass *pass);

/* Before something that cannot be taken back: the pass that rbe__pass_run runs next is not cancelled, the one after it is. RBE_ERROR_CANCELLED
 * where this pass is cancelled already, and the next one may be again. */
rbe_status rbe__pass_commit(rbe__pass *pass);

/* ---- for blocks ---- */

/* Runs the jobs on the block's input, after the block's norm where it has one. *x: what the matrices read. */
void rbe__block_project(rbe__pass *pass, const rbe__block *block, const rbe__linear_job *jobs, uint32_t n_jobs, const float **x);

/* Where the block's last matrix writes: the residual stream itself (job.adds), or `branch` where a norm comes before the sum. */
rbe__linear_job rbe__block_output_job(const rbe__pass *pass, const rbe__block *block, const rbe__projection *projection);

/* Runs what follows the block's last matrix: the norms, and the sum where the matrix did not add to the residual stream. */
void rbe__block_add(rbe__pass *pass, const rbe__block *block);

/* A block is left out: what its state keeps is appended all the same, and the residual stream is as the next block expects it. */
rbe_status rbe__block_skip(rbe__pass *pass, const rbe__block *block);

/* Shows x [n_tokens][cols] to the capture callback, where there is one; RBE_ERROR_CANCELLED where the callback returns non-zero. */
rbe_status rbe__capture(rbe__pass *pass, uint32_t layer, uint32_t point, const float *x, size_t cols);

#endif
