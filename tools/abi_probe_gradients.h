/* The part of abi_probe.c for rbe/gradients.h; its macros print. */
#ifndef ABI_PROBE_GRADIENTS_H
#define ABI_PROBE_GRADIENTS_H

#include "rbe/layer_embeddings.h"

static void gradients_declarations(void)
{
    CONSTANT(RBE_DRAW_TOKEN);
    CONSTANT(RBE_CAPTURE_LAYER_GATE);
    CONSTANT(RBE_CAPTURE_LAYER_OUTPUT);

    STRUCTURE(rbe_curvature_rows);
    FIELD(rbe_curvature_rows, struct_bytes);
    FIELD(rbe_curvature_rows, x);
    FIELD(rbe_curvature_rows, d);
    FIELD(rbe_curvature_rows, n_tokens);
    FIELD(rbe_curvature_rows, window_tokens);
    FIELD(rbe_curvature_rows, n_rows);
    FIELD(rbe_curvature_rows, cols);
    STRUCTURE(rbe_gradients_options);
    FIELD(rbe_gradients_options, struct_bytes);
    FIELD(rbe_gradients_options, most_tokens);
    FIELD(rbe_gradients_options, context_tokens);
    FIELD(rbe_gradients_options, n_threads);
    FIELD(rbe_gradients_options, gains);
    FIELD(rbe_gradients_options, encoder);
    STRUCTURE(rbe_gradients_text);
    FIELD(rbe_gradients_text, struct_bytes);
    FIELD(rbe_gradients_text, hidden);
    FIELD(rbe_gradients_text, d_hidden);
    FIELD(rbe_gradients_text, n_tokens);
    FIELD(rbe_gradients_text, window_tokens);

    STRUCTURE(rbe_gradient);
    FIELD(rbe_gradient, struct_bytes);
    FIELD(rbe_gradient, name);
    FIELD(rbe_gradient, layer);
    FIELD(rbe_gradient, rows);
    FIELD(rbe_gradient, cols);
    FIELD(rbe_gradient, first_row);
    FIELD(rbe_gradient, n_rows);
    FIELD(rbe_gradient, n_tokens);
    FIELD(rbe_gradient, window_tokens);
    FIELD(rbe_gradient, x);
    FIELD(rbe_gradient, d);
    FIELD(rbe_gradient, gains);
}

#endif
